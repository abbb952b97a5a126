import type { JobId } from "@berth/protocol";
import { errorToJson, toJson } from "@berth/protocol";
import { exitCodeOf, exitCodes, isAbort } from "./exit-codes.ts";
import { type Answer, errorText, printAnswer } from "./output.ts";
import { type GlobalFlags, type Session, withSession } from "./session.ts";

/** Runs one command: opens a session, prints the answer, sets the exit code. */
export type Runner = (
  flags: GlobalFlags,
  options: { withKey: boolean },
  work: (session: Session) => Promise<Answer & { exitCode?: number }>,
) => Promise<void>;

/** A runner whose commands stop politely on the first Ctrl-C, and at once on the second. */
export function createRunner(): Runner {
  return async (flags, { withKey }, work) => {
    const stop = new AbortController();
    const interrupt = () => {
      if (stop.signal.aborted) process.exit(exitCodes.interrupted);
      stop.abort(new Interrupted());
    };
    process.on("SIGINT", interrupt);
    process.on("SIGTERM", interrupt);
    let jobId: JobId | undefined;
    const onProgress = (event: { jobId?: JobId }) => {
      jobId = event.jobId ?? jobId;
    };
    try {
      const { exitCode = exitCodes.ok, ...answer } = await withSession(
        flags,
        { withKey, signal: stop.signal, onProgress },
        work,
      );
      printAnswer(answer, flags.json === true);
      process.exitCode = exitCode;
    } catch (error) {
      const cause = stop.signal.aborted ? stop.signal.reason : error;
      reportError(cause, flags.json === true);
      if (jobId !== undefined) process.stderr.write(whatNow(jobId, isAbort(cause)));
    } finally {
      process.off("SIGINT", interrupt);
      process.off("SIGTERM", interrupt);
    }
  };
}

/** Says what went wrong on stderr, and as JSON on stdout where that was asked for. Sets the exit code. */
export function reportError(error: unknown, asJson: boolean): void {
  process.stderr.write(`${errorText(error, (process.env["BERTH_DEBUG"] ?? "") !== "")}\n`);
  if (asJson) {
    const json = isAbort(error)
      ? { code: "INTERRUPTED", message: "Interrupted.", retryable: true }
      : errorToJson(error);
    process.stdout.write(`${toJson({ error: json }, 2)}\n`);
  }
  process.exitCode = exitCodeOf(error);
}

class Interrupted extends Error {
  override readonly name = "Interrupted";
}

function whatNow(jobId: JobId, interrupted: boolean): string {
  const first = interrupted ? "The job goes on without you." : "The job itself is on the market.";
  return `${first} See \`berth show ${jobId}\`; wait for it, verify and pay with \`berth resume ${jobId} --out DIR\`.\n`;
}
