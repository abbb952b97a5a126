import { createInterface } from "node:readline/promises";
import { MarketError } from "@berth/protocol";

/** Asks before money moves. Throws CONFIRMATION_MISSING where nobody can answer, NOT_CONFIRMED on anything but yes. */
export async function confirm(question: string, { yes, signal }: { yes: boolean; signal: AbortSignal }): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new MarketError("CONFIRMATION_MISSING", "This spends money, and nobody is here to agree.", {
      hint: "Add --yes.",
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `, { signal });
    if (/^y(es)?$/i.test(answer.trim())) return;
  } finally {
    terminal.close();
  }
  throw new MarketError("NOT_CONFIRMED", "Nothing was paid.");
}
