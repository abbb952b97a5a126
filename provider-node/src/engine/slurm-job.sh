#!/bin/bash
# Runs one attempt on a compute node of a Slurm cluster. Bash, coreutils, util-linux and podman are all it needs there.
#   slurm-job.sh batch FOLDER      what Slurm starts: claims the attempt, starts the supervisor, passes signals on to it
#   slurm-job.sh supervise FOLDER  outside of Slurm's reach: makes, watches and takes away the container
#   slurm-job.sh probe FOLDER      finds out by running what this compute node can do
#   slurm-job.sh bury FOLDER       takes away what a supervisor left that was killed
# FOLDER is the attempt's on the shared file system; its `job.env` says what to run. The end is written to `exit` there,
# whole or not at all. Signals to the batch shell: USR1 stops politely, TERM kills.
set -u
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SELF=$0
FOLDER=$2

# A file of the attempt, from stdin: on disk, whole or not at all.
put() {
  local path=$FOLDER/$1
  cat > "$path.new" && sync "$path.new" && mv -T "$path.new" "$path" && sync "$FOLDER"
}

# One that is only looked at while the attempt runs.
mark() {
  cat > "$FOLDER/$1.new" && mv -T "$FOLDER/$1.new" "$FOLDER/$1"
}

batch() {
  local wish='' supervisor
  trap 'wish=TERM' TERM INT
  trap 'wish=USR1' USR1
  mkdir "$FOLDER/claim" || exit 0 # another run of this job has it, or the node has withdrawn the attempt
  setsid /bin/bash "$SELF" supervise "$FOLDER" $$ < /dev/null > "$FOLDER/supervisor.log" 2>&1 &
  supervisor=$!
  while kill -0 "$supervisor" 2> /dev/null; do
    wait "$supervisor"
    if [ -n "$wish" ]; then kill "-$wish" "$supervisor" 2> /dev/null; fi
    wish=''
  done
  # A node that has seen the end may have cleaned up already.
  [ -e "$FOLDER/exit" ] || [ ! -d "$FOLDER" ] || /bin/bash "$SELF" bury "$FOLDER" >> "$FOLDER/supervisor.log" 2>&1
}

# The supervisor outlives the job, so that a job that Slurm kills still ends in order; and it needs no share of the job's
# memory. The container is in a cgroup of ours anyway.
leave_slurm() {
  local file
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p /sys/fs/cgroup/berth-slurm-supervisors
    echo $$ > /sys/fs/cgroup/berth-slurm-supervisors/cgroup.procs
    return
  fi
  for file in /sys/fs/cgroup/*/cgroup.procs; do echo $$ > "$file"; done
} 2> /dev/null

settings() {
  . "$FOLDER/job.env"
  STORE=$LOCAL/store-${SLURMD_NODENAME:-$(hostname)}
  HERE=$LOCAL/attempts/$NAME
  RUN=/run/berth/s$(printf %s "$STORE" | sha256sum | cut -c1-12)
  BOOT=$(cat /proc/sys/kernel/random/boot_id)
  mkdir -p "$STORE/tmp" "$LOCAL/attempts"
  chmod 711 "$LOCAL" "$LOCAL/attempts" "$STORE"
}

# Held by every attempt on the node while it uses the store; whoever is alone there may take it down.
share_store() {
  exec 8> "$STORE/lock"
  flock -s 8
  mkdir -p -m 711 "$RUN"
}

# Which OCI runtime runs a process here, found out by running one; once for every start of the machine.
find_runtime() {
  local known=$STORE/tmp/runtime-$BOOT candidate bundle id
  if [ -e "$known" ]; then RUNTIME=$(cat "$known"); return; fi
  for candidate in crun runc; do
    command -v $candidate > /dev/null || continue
    bundle=$(mktemp -d "$STORE/tmp/bundle-XXXXXX")
    id=berth-probe-$$-$candidate
    mkdir "$bundle/rootfs"
    sed "s/PROBE/$id/" "$CONF/bundle.json" > "$bundle/config.json"
    if $candidate run --bundle "$bundle" "$id" > /dev/null 2> "$bundle/why"; then RUNTIME=$candidate; fi
    [ -s "$bundle/why" ] && sed "s/^/$candidate: /" "$bundle/why"
    $candidate delete --force "$id" 2> /dev/null
    rm -rf "$bundle"
    if [ -n "${RUNTIME:-}" ]; then echo "$RUNTIME" > "$known"; return; fi
  done
  die 'No OCI runtime runs here: install runc, and let jobs of root run.'
}

# podman on this node's own store, with nothing of the machine's configuration.
store() {
  (cd "${FROM:-$STORE}" && env -i PATH="$PATH" HOME="$STORE" TMPDIR="$STORE/tmp" CONTAINERS_CONF="$CONF/containers.conf" \
    CONTAINERS_STORAGE_CONF="$CONF/storage.conf" CONTAINERS_REGISTRIES_CONF="$CONF/registries.conf" \
    podman --root="$STORE/root" --runroot="$RUN/r" --tmpdir="$RUN/t" --runtime="$RUNTIME" \
    --storage-driver="$DRIVER" --cgroup-manager=cgroupfs "$@" 8>&- 9>&-)
}

find_driver() {
  if [ -e "$STORE/driver" ]; then DRIVER=$(cat "$STORE/driver"); return; fi
  for DRIVER in overlay vfs; do
    if store info > /dev/null; then echo $DRIVER > "$STORE/driver"; return; fi
    rm -rf "$STORE/root"
  done
  die "podman cannot open a store in $STORE."
}

# An end without a run: nothing of the job was started.
die() {
  trap '' TERM USR1
  take_away
  printf 'failed=%s\n' "$(printf %s "$1" | tr '\n' ' ' | tail -c 1000)" | put exit
  exit 1
}

# volume NAME BYTES INODES OWNER: a folder that holds at most so much, on a loop device or else in memory.
volume() {
  local dir=$HERE/$1 image=$HERE/$1.img options=nosuid,nodev,noexec
  mkdir "$dir"
  if [ "$VOLUME" = loop-ext4 ]; then
    fallocate -l "$2" "$image" || truncate -s "$2" "$image"
    mkfs.ext4 -q -F -m 0 -O '^has_journal' -E nodiscard -N "$3" "$image" && mount -o "loop,$options" "$image" "$dir" || {
      rm -f "$image"
      VOLUME=tmpfs
    }
  fi
  if [ "$VOLUME" = tmpfs ]; then
    mount -t tmpfs -o "size=$2,nr_inodes=$3,$options" tmpfs "$dir" || die 'No volume can be mounted on the compute node.'
  fi
  [ ! -e "$dir/lost+found" ] || rmdir "$dir/lost+found"
  chown "$4:$4" "$dir"
  chmod 777 "$dir"
}

trees() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else printf '%s\n' /sys/fs/cgroup/*/; fi
}

make_cgroup() {
  local tree level=/sys/fs/cgroup part
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup$CGROUP"
    for part in ${CGROUP//\// } .; do
      echo '+cpu +memory +pids' > "$level/cgroup.subtree_control"
      level=$level/$part
    done
    echo "$QUOTA_US 100000" > "/sys/fs/cgroup$CGROUP/cpu.max"
  else
    for tree in cpu cpuacct memory pids; do mkdir -p "/sys/fs/cgroup/$tree$CGROUP"; done
    echo "$QUOTA_US" > "/sys/fs/cgroup/cpu$CGROUP/cpu.cfs_quota_us"
  fi
}

# Every process of the attempt, the monitor's too.
kill_cgroup() {
  local look tree pids
  tree=/sys/fs/cgroup
  [ ! -d $tree/pids ] || tree=$tree/pids
  for look in {1..100}; do
    pids=$(find "$tree$CGROUP" -name cgroup.procs -exec cat {} +)
    [ -n "$pids" ] || return
    kill -KILL $pids
    sleep 0.05
  done
} 2> /dev/null

read_usage() {
  local c=/sys/fs/cgroup all monitor=0
  if [ -e $c/cgroup.controllers ]; then
    all=$(awk '$1 == "usage_usec" { print $2 * 1000 }' "$c$CGROUP/cpu.stat")
    monitor=$(awk '$1 == "usage_usec" { print $2 * 1000 }' "$c$CGROUP/conmon/cpu.stat")
    echo "peakBytes=$(cat "$c$CGROUP/memory.peak")"
    echo "oomKills=$(awk '$1 == "oom_kill" { print $2 }' "$c$CGROUP/memory.events")"
  else
    all=$(cat "$c/cpuacct$CGROUP/cpuacct.usage")
    monitor=$(cat "$c/cpuacct$CGROUP/conmon/cpuacct.usage")
    echo "peakBytes=$(cat "$c/memory$CGROUP/memory.max_usage_in_bytes")"
  fi
  echo "cpuNs=$((all - ${monitor:-0}))"
} 2> /dev/null

bring_image() {
  local name found
  exec 7> "$STORE/image.lock"
  flock 7
  if [ "$(image_id)" != "$IMAGE_ID" ]; then
    for name in $(store images --format='{{.Repository}}' | grep '^localhost/sha256-'); do
      [ -e "$IMAGES/${name#localhost/}" ] || store rmi "$name" # dropped by the node that owns the images
    done
    # podman names the image after the path, which must be in small letters: so it is relative.
    FROM=$IMAGES store pull --quiet --signature-policy="$CONF/policy.json" "oci:$IMAGE" > /dev/null
    found=$(image_id)
    [ "$found" = "$IMAGE_ID" ] || die "The compute node could not take in the image: ${found:-see supervisor.log}."
  fi
  exec 7>&-
}

# Two manifests may name one config. That is one image to podman, which has the digests of both.
image_id() {
  store image inspect --format='{{.Id}}{{range .RepoDigests}} {{.}}{{end}}' "localhost/$IMAGE" 2> /dev/null |
    sed -n "/@${IMAGE/-/:}/s/ .*//p"
}

supervise() {
  local batch=$3 code
  wish=''
  ended_by=''
  trap 'wish=kill' TERM INT
  trap 'wish=stop' USR1
  trap '' HUP
  leave_slurm
  settings
  share_store
  exec 9<> <(:)
  printf 'job=%s\nnode=%s\nbootId=%s\nstartedAt=%s\n' "$SLURM_JOB_ID" "${SLURMD_NODENAME:-}" "$BOOT" "$(date +%s)" | mark started
  find_runtime
  find_driver
  bring_image
  rm -rf "$HERE"
  mkdir "$HERE"
  chmod 711 "$HERE"
  make_cgroup
  volume out "$OUT_BYTES" "$OUT_INODES" "$OWNER"
  volume log "$LOG_BYTES" 32 0
  give_gpus
  store "${CREATE[@]}" > "$HERE/said" 2>&1 || die "$(tail -n 1 "$HERE/said")"
  [ -z "$wish" ] || die 'It was stopped before it began.'
  store start "$NAME" > "$HERE/said" 2>&1 || die "$(tail -n 1 "$HERE/said")"
  date +%s | mark running
  watch "$batch"
  finish
}

# Slurm says which of the node's GPUs are the job's.
give_gpus() {
  local gpu given=0
  [ "$GPUS" -gt 0 ] || return
  for gpu in ${SLURM_JOB_GPUS//,/ }; do
    CREATE=("${CREATE[0]}" "--device=$GPU_KIND=$gpu" "${CREATE[@]:1}")
    given=$((given + 1))
  done
  [ "$given" = "$GPUS" ] || die "Slurm gave $given GPUs of $GPUS."
}

# Until the monitor is gone, or the batch shell: then Slurm has killed the job.
watch() {
  local id monitor shown='' copied='' look=0
  read -r id monitor <<< "$(store container inspect --format='{{.Id}} {{.State.ConmonPid}}' "$NAME")"
  while is_monitor "$monitor" "$id"; do
    kill -0 "$1" || wish=kill
    case $wish in
      stop) wish=''; ended_by=stop; store stop --time="$(cat "$FOLDER/grace")" "$NAME" > /dev/null & ;;
      kill) wish=''; ended_by=kill; store kill --signal=KILL "$NAME" > /dev/null ;;
    esac
    look=$((look + 1))
    if [ $((look % 10)) = 0 ]; then
      shown=$(stat -c %s "$HERE/log/raw")
      if [ "$shown" != "$copied" ]; then copy_log; copied=$shown; fi
    fi
    read -rt 0.1 -u 9
  done
} 2> /dev/null

# A process id may be used again, so the monitor is known by its command line.
is_monitor() {
  local words word
  [ "$1" -gt 0 ] || return
  mapfile -d '' -t words < "/proc/$1/cmdline" || return
  for word in "${words[@]}"; do [ "$word" != "$2" ] || return 0; done
  return 1
}

copy_log() {
  cp "$HERE/log/raw" "$FOLDER/raw.new" && mv "$FOLDER/raw.new" "$FOLDER/raw"
}

# What the container left, in the order: facts, outputs, log; nothing of it is on the node when `exit` is written.
finish() {
  local end=lost usage free
  trap '' TERM USR1
  if inspect_end; then end=ended; fi
  usage=$(read_usage)
  free=$(stat -f -c '%a*%S' "$HERE/log")
  kill_cgroup
  copy_log
  if mountpoint -q "$HERE/out" && [ "$VOLUME" = tmpfs ]; then
    rm -rf "$FOLDER/out" && cp -a --sparse=always "$HERE/out" "$FOLDER/out" && sync -f "$FOLDER" || end=lost
  else
    # A container that is just being made elsewhere on the node holds a copy of every mount for a moment, so an unmount
    # alone need not write anything into the image.
    mount -o remount,ro "$HERE/out"
    sync -f "$HERE/out" && unmount "$HERE/out" &&
      cp --sparse=always "$HERE/out.img" "$FOLDER/out.img" && sync "$FOLDER/out.img" || end=lost
  fi
  sync "$FOLDER/inspect.json" "$FOLDER/raw"
  take_away
  printf 'end=%s\nby=%s\nvolume=%s\nlogFree=%s\n%s\n' $end "$ended_by" "$VOLUME" "$((free))" "$usage" | put exit
}

# podman learns of the end from its monitor's last act, which may still be on its way.
inspect_end() {
  local look
  for look in {1..20}; do
    store container inspect "$NAME" > "$FOLDER/inspect.json" || return
    ! grep -qE '"Status": "(exited|stopped)"' "$FOLDER/inspect.json" || return 0
    read -rt 0.1 -u 9
  done
}

unmount() {
  local look
  for look in {1..50}; do
    mountpoint -q "$1" || return 0
    umount "$1" 2> /dev/null || sleep 0.1
  done
  umount --lazy "$1"
}

# Container, mounts, cgroups and files of the attempt; and the store's own mount when no other attempt is here.
take_away() {
  local look tree
  kill_cgroup
  if [ -n "${DRIVER:-}" ]; then
    for look in {1..20}; do
      store rm --force --time=0 --volumes "$NAME" > /dev/null && break
      store container exists "$NAME" || break
      sleep 0.1
    done
  fi
  for look in out log; do unmount "$HERE/$look"; done
  for tree in $(trees); do find "$tree$CGROUP" -depth -type d -exec rmdir {} + 2> /dev/null; rmdir "$(dirname "$tree$CGROUP")" 2> /dev/null; done
  rm -rf --one-file-system "$HERE"
  if flock -nx 8; then
    unmount "$STORE/root/overlay"
    rm -rf --one-file-system "$RUN"
  fi
}

bury() {
  settings
  share_store
  RUNTIME=$(cat "$STORE/tmp/runtime-$BOOT")
  DRIVER=$(cat "$STORE/driver")
  take_away
  echo end=lost | put exit
}

probe() {
  settings
  share_store
  exec 9<> <(:)
  find_runtime
  find_driver
  local version cgroup=1
  version=$(store info --format='{{.Version.Version}}')
  [ ! -e /sys/fs/cgroup/cgroup.controllers ] || cgroup=2
  rm -rf "$HERE"
  mkdir "$HERE"
  volume out 1048576 32 "$OWNER"
  take_away
  printf 'runtime=%s\npodman=%s\ncgroup=%s\nvolume=%s\n' "$RUNTIME" "$version" $cgroup "$VOLUME" | put exit
}

"$1" "$@"
