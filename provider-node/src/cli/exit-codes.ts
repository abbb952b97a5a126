import { MarketError } from "@berth/protocol";

/** What the exit codes of `berth-node` mean, as its help says. The systemd unit does not restart after `usage`. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, internal: 70, interrupted: 130 } as const;

export const exitCodesHelp = `
Exit codes:
  0    done
  1    it could not be done, a check failed, or something is missing: the error has a code, a sentence and a hint
  2    wrong usage, setting or key file: the same call fails again
  70   a fault in berth-node itself
  130  interrupted`;

/** Codes of errors that stay until a person changes what was given. */
const usageCodes = ["USAGE", "FLAG_INVALID", "DEPLOYMENT_INVALID", "DEPLOYMENT_UNREADABLE", "NOT_CONTROLLER"];
const usagePrefixes = ["CONFIG_", "KEY_", "MESH_KEY_"];

/** The exit code for anything thrown. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof MarketError)) return exitCodes.internal;
  const isUsage = usageCodes.includes(error.code) || usagePrefixes.some((prefix) => error.code.startsWith(prefix));
  return isUsage ? exitCodes.usage : exitCodes.failed;
}
