import { type Address, type JobId, MarketError } from "@berth/protocol";
import { InvalidArgumentError } from "commander";

/** A job id in any letter case. Throws JOB_ID_INVALID. */
export function parseJobId(text: string): JobId {
  if (/^0x[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase() as JobId;
  throw new MarketError("JOB_ID_INVALID", `"${text}" is not a job id.`, {
    hint: "It is 0x and 64 hexadecimal digits; `berth ls` lists yours.",
  });
}

/** A whole number of something; the words go into the error. */
export function whole(what: string, least = 0): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`It must be a whole number of ${what}, ${least} or more.`);
    }
    return value;
  };
}

/** Cores like "0.5" as thousandths. */
export function cores(text: string): number {
  const milli = Math.round(Number(text) * 1000);
  if (!/^\d+(\.\d{1,3})?$/.test(text) || milli < 10) {
    throw new InvalidArgumentError("It must be a number of cores, 0.01 or more, like 0.5.");
  }
  return milli;
}

/** Accounts separated by commas, each once. */
export function addresses(text: string): Address[] {
  const listed = text.split(",").map((address) => address.trim().toLowerCase());
  const wrong = listed.find((address) => !/^0x[0-9a-f]{40}$/.test(address));
  if (wrong !== undefined) throw new InvalidArgumentError(`"${wrong}" is not an account's address.`);
  return [...new Set(listed)] as Address[];
}

/** A name as orders carry it: in 32 bytes. */
export function label(text: string): string {
  if (!/^[\x21-\x7e]([\x20-\x7e]{0,30}[\x21-\x7e])?$/.test(text)) {
    throw new InvalidArgumentError("It must be 1 to 32 ASCII characters.");
  }
  return text;
}

/** Collects `K=V` flags. */
export function variable(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("It must be NAME=VALUE.");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** Collects a flag that may be given several times. */
export function several(text: string, before: string[]): string[] {
  return [...before, text];
}
