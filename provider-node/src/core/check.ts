import { errorToJson } from "@berth/protocol";

/** One line of `doctor`. */
export interface Check {
  name: string;
  /** `warn`: works, but look at it. */
  status: "ok" | "warn" | "fail";
  /** What was seen, for a person. */
  detail: string;
  /** What to do about it. */
  fix?: string;
  /** What the node cannot do while this fails. */
  without?: string;
}

export function passed(name: string, detail: string): Check {
  return { name, status: "ok", detail };
}

export function failedBy(name: string, error: unknown, without: string): Check {
  const { message, hint } = errorToJson(error);
  return { name, status: "fail", detail: message, ...(hint !== undefined && { fix: hint }), without };
}
