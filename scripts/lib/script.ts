import { errorToJson } from "@berth/protocol";

/** As shells report a Ctrl-C. */
const INTERRUPTED = 130;

/** Runs a script's work: prints an error as a person reads it (or as JSON), never a stack without BERTH_DEBUG. */
export async function runScript(work: () => Promise<number>, { json }: { json: boolean }): Promise<never> {
  let exitCode: number;
  try {
    exitCode = await work();
  } catch (error) {
    const { code, message, hint } = errorToJson(error);
    if (json) console.log(JSON.stringify({ error: errorToJson(error) }));
    console.error(`Error (${code}): ${message}${hint ? `\nHint: ${hint}` : ""}`);
    if (process.env["BERTH_DEBUG"]) console.error(error);
    exitCode = code === "STOPPED" ? INTERRUPTED : 1;
  }
  process.exit(exitCode);
}
