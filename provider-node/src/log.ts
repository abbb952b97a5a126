import { type DestinationStream, type Logger, type LoggerOptions, pino } from "pino";

export type { Logger } from "pino";

/** Levels that a person may choose. */
export const logLevels = ["silent", "error", "warn", "info", "debug"] as const;

/** The program's log: JSON lines on stderr, so that stdout stays for answers. Secrets under these names never appear. */
export function createLog(level: (typeof logLevels)[number], destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    base: null,
    redact: { paths: ["privateKey", "*.privateKey", "key.private", "wgPrivateKey"], remove: true },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  return pino(options, destination ?? pino.destination({ fd: 2, sync: true }));
}

/** What every long call takes: a signal that stops it and the log it writes to. */
export interface Context {
  signal: AbortSignal;
  log: Logger;
}
