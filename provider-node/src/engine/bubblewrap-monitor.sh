#!/bin/bash
# Watches over one attempt, and outlives the node that started it: claims the attempt, starts it once, keeps both of its
# streams up to a cap, ends it at its time limit, and writes how it ended. Dies it, then the attempt dies with it.
#
#   bubblewrap-monitor.sh watch FOLDER SECONDS LOG_BYTES STAGE TMP_BYTES HOST_UID HOST_GID OPEN_FILES FILTER \
#     MONITOR_PROCS JOB_PROCS COMMAND...
#
# FOLDER holds what the engine prepared: `args` for bwrap, and `sources` to be shown to it, one on each line.
# Written here: `claim` (process id), `started`, `end` (start, finish), `status` (bwrap's word on the exit code),
# `stdout.log`, `stderr.log`. Times are unix milliseconds.
set -eu
step=$1 folder=$2 seconds=$3 log_bytes=$4 stage=$5 tmp_bytes=$6 uid=$7 gid=$8 open_files=$9
shift 9
filter=$1 monitor_procs=$2 job_procs=$3
shift 3

enter() {
  for file in $1; do echo $$ >"$file"; done
}

# Writes what arrives as it arrives; what is over the cap is counted and dropped, so that the job does not notice.
keep() {
  stdbuf --output=0 head --bytes="$log_bytes" >"$folder/$1.log"
  wc -c >"$folder/$1.dropped"
}

# What the node had from whoever started it is not for jobs. The shell reads this script by 255, and keeps that to itself.
close_files() {
  local fd
  for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    if ((fd > 2 && fd != 255)); then eval "exec $fd>&-"; fi
  done
}

watch() {
  close_files
  enter "$monitor_procs"
  echo $$ >"$folder/claim.$$"
  ln "$folder/claim.$$" "$folder/claim" 2>/dev/null || {
    rm "$folder/claim.$$"
    echo taken
    exit 0
  }
  rm "$folder/claim.$$"
  rm -f "$folder/out.fifo" "$folder/err.fifo"
  mkfifo -m 600 "$folder/out.fifo" "$folder/err.fifo"
  started=$(date +%s%3N)
  echo "$started" >"$folder/started"
  trap : PIPE HUP INT TERM # not ignored, for the job would inherit that
  echo started || true
  exec >/dev/null 2>>"$folder/monitor.log"
  keep stdout <"$folder/out.fifo" &
  keep stderr <"$folder/err.fifo" &
  setpriv --pdeathsig KILL timeout --foreground --signal=KILL "$seconds" \
    unshare --mount /bin/bash "$0" launch "$folder" "$seconds" "$log_bytes" "$stage" "$tmp_bytes" "$uid" "$gid" \
    "$open_files" "$filter" "$monitor_procs" "$job_procs" "$@" \
    </dev/null >"$folder/out.fifo" 2>"$folder/err.fifo" 7>"$folder/status" 8<"$filter" 9<"$folder/args" &
  job=$!
  wait $job || true
  while kill -0 $job 2>/dev/null; do wait $job || true; done # a signal to this process interrupts the wait
  finished=$(date +%s%3N)
  wait
  echo "$started $finished" >"$folder/end.new"
  sync "$folder/end.new"
  mv "$folder/end.new" "$folder/end"
  sync "$folder"
}

# In a mount namespace of its own, as root: builds the stage that bwrap, as nobody, may look at.
launch() {
  enter "$job_procs"
  mount -t tmpfs -o size=64k,mode=711 berth "$stage"
  mkdir "$stage/tmp"
  mount -t tmpfs -o "size=$tmp_bytes,mode=1777,nosuid,nodev,noexec" berth "$stage/tmp"
  at=0
  while IFS= read -r source; do
    if [ -d "$source" ]; then mkdir "$stage/$at"; else : >"$stage/$at"; fi
    # The second is the output volume, whose own mount has its options; the others cannot be written to, not even by root.
    if [ $at = 1 ]; then mount --bind "$source" "$stage/1"; else mount --bind -o ro,nosuid,nodev "$source" "$stage/$at"; fi
    at=$((at + 1))
  done <"$folder/sources"
  ulimit -c 0
  ulimit -n "$open_files"
  cd /
  # A shell's background processes ignore INT and QUIT; a job does not.
  exec env --ignore-environment --default-signal PATH="$PATH" \
    setpriv --reuid="$uid" --regid="$gid" --clear-groups -- \
    bwrap --json-status-fd 7 --seccomp 8 --args 9 -- "$@"
}

"$step" "$@"
