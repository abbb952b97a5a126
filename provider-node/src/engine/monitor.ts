import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { findProgram } from "./command.ts";
import { shellWord } from "./shell-word.ts";

/** Where distributions put what only podman calls. */
const FOLDERS = ["/usr/libexec/podman", "/usr/lib/podman", "/usr/local/libexec/podman", "/usr/local/lib/podman"];

/**
 * A script in `folder` that is podman's monitor without what it runs when a container has ended: one more podman, which
 * costs as much as a sixth of a short job (ADR 0020). The exit code is in a file that podman reads when it is asked, and
 * what is left of the container goes when it is removed. Undefined where there is no such monitor: podman knows better.
 */
export function writeMonitor(folder: string, path: string): string | undefined {
  const monitor = findProgram("conmon", [path, ...FOLDERS].join(":"));
  if (monitor === undefined) return undefined;
  const script = join(folder, "monitor");
  writeFileSync(
    script,
    `#!/bin/sh
left=$#
while [ "$left" -gt 0 ]; do
  word=$1
  shift
  left=$((left - 1))
  case $word in
    --exit-command | --exit-command-arg)
      shift
      left=$((left - 1))
      ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec ${shellWord(monitor)} "$@"
`,
    { mode: 0o755 },
  );
  return script;
}
