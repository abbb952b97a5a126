/** One question that a verifier asked, and the answer in words. */
export interface Check {
  name: string;
  ok: boolean;
  detail: string;
}

export function passed(name: string, detail: string): Check {
  return { name, ok: true, detail };
}

export function failed(name: string, detail: string): Check {
  return { name, ok: false, detail };
}

/** Runs a check: what it returns is the detail, what it throws is the reason of the failure. */
export async function check(name: string, run: () => string | Promise<string>): Promise<Check> {
  try {
    return passed(name, await run());
  } catch (error) {
    return failed(name, error instanceof Error ? error.message : String(error));
  }
}
