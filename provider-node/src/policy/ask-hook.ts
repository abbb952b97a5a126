import { readText } from "@berth/content";
import { shownUrl } from "@berth/protocol";
import { z } from "zod";
import type { HookConfig } from "../config/hook.ts";
import type { Context } from "../log.ts";
import type { Reason } from "../store/decisions.ts";
import type { Question } from "./question.ts";

/** What the hook said, or what counts where it said nothing. */
export type HookAnswer =
  | { take: true }
  /** `isFinal`: the hook said so itself, and need not be asked again about this job. */
  | { take: false; reason: Reason; isFinal: boolean };

const answerSchema = z.union([
  z.strictObject({ take: z.literal(true) }),
  z.strictObject({ take: z.literal(false), reason: z.string().default("") }),
]);

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const KILL_GRACE_MS = 200;
const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_REASON = 200;

/** Asks the operator's program or server about one job; answers in time, whatever it does. */
export async function askHook(hook: HookConfig, question: Question, context: Context): Promise<HookAnswer> {
  const { signal, log } = context;
  const onFailure = hook.onFailure ?? (question.what === "posted" ? "refuse" : "take");
  try {
    const refusal = "exec" in hook ? await run(hook, question, signal) : await post(hook, question, signal);
    if (refusal === undefined) return { take: true };
    const said = readable(refusal);
    const text = `The operator's hook refused it${said === "" ? "." : `: ${said}`}`;
    return { take: false, isFinal: true, reason: { code: "hook-refused", text, values: { said } } };
  } catch (error) {
    signal.throwIfAborted();
    const why = readable((error as Error).message);
    log.warn({ job: question.jobId, reason: why, onFailure }, "hook gave no answer");
    if (onFailure === "take") return { take: true };
    const text = `The operator's hook gave no answer: ${why}`;
    return { take: false, isFinal: false, reason: { code: "hook-failed", text, values: { why } } };
  }
}

/** What the program said against the job; undefined when it takes it. Throws what keeps it from answering. */
async function run(
  { exec: [file, ...args], deadlineMs }: Extract<HookConfig, { exec: unknown }>,
  question: Question,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { execa } = await import("execa"); // a node without such a program starts sooner
  const result = await execa(file, args, {
    input: JSON.stringify(question),
    env: { PATH },
    extendEnv: false,
    cwd: "/",
    timeout: deadlineMs,
    maxBuffer: MAX_ANSWER_BYTES,
    forceKillAfterDelay: KILL_GRACE_MS,
    killDescendants: true,
    reject: false,
    cancelSignal: signal,
  });
  signal.throwIfAborted();
  if (result.timedOut) throw new Error(`${file} did not end within ${deadlineMs} ms`);
  if (result.isMaxBuffer) throw new Error(`${file} printed more than ${MAX_ANSWER_BYTES} bytes`);
  if (result.exitCode === 0) return undefined;
  if (result.exitCode === 1) return result.stdout;
  throw new Error(
    result.exitCode === undefined ? (result.originalMessage ?? file) : `${file} ended with code ${result.exitCode}`,
  );
}

/** As `run`, with a server. */
async function post(
  { url, deadlineMs }: Extract<HookConfig, { url: unknown }>,
  question: Question,
  signal: AbortSignal,
): Promise<string | undefined> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question),
    redirect: "error",
    signal: AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]),
  });
  const text = await readText(response, MAX_ANSWER_BYTES);
  if (response.status !== 200) throw new Error(`${shownUrl(url)} answered ${response.status}`);
  const answer = answerSchema.safeParse(jsonOf(text));
  if (!answer.success)
    throw new Error(`${shownUrl(url)} answered neither {"take": true} nor {"take": false, "reason": "…"}`);
  return answer.data.take ? undefined : answer.data.reason;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The first line, as one that can be shown. */
function readable(said: string): string {
  const [line = ""] = said.trim().split("\n");
  return line.replace(/\p{Cc}/gu, " ").slice(0, MAX_REASON);
}
