/** What a deliberate error carries besides its sentence. */
export interface ErrorDetails {
  /** What the person can do about it, as a full sentence. */
  hint?: string;
  /** Would the same call, unchanged, succeed later? */
  retryable?: boolean;
  cause?: unknown;
}

/** An error thrown on purpose. Programs switch on `code`; people read `message`, then `hint`. */
export class MarketError extends Error {
  override readonly name: string = "MarketError";
  readonly code: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;

  constructor(code: string, message: string, { hint, retryable = false, cause }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.hint = hint;
    this.retryable = retryable;
  }
}

/** The JSON shape of an error, as every `--json` output and HTTP problem carries it. */
export interface ErrorJson {
  code: string;
  message: string;
  hint?: string;
  retryable: boolean;
}

/** Turns anything thrown into the shape that programs print. An unknown error keeps its message under `INTERNAL`. */
export function errorToJson(error: unknown): ErrorJson {
  if (error instanceof MarketError) {
    const { code, message, hint, retryable } = error;
    return hint === undefined ? { code, message, retryable } : { code, message, hint, retryable };
  }
  return { code: "INTERNAL", message: error instanceof Error ? error.message : String(error), retryable: false };
}
