import { evidenceSchema, MarketError } from "@berth/protocol";
import { z } from "zod";
import type { Attester, AttesterContext, AttestRequest } from "./attester.ts";

/** Any program that makes evidence: for hardware that this node cannot drive itself. */
export const execConfigSchema = z.strictObject({
  type: z.literal("exec"),
  /** Absolute path of the program, then its arguments. No shell is involved. */
  command: z.tuple([z.string().startsWith("/")], z.string()),
  /** The program's whole environment besides PATH. */
  env: z.record(z.string(), z.string()).default({}),
  timeoutMs: z.int().min(100).max(600_000).default(30_000),
  maxOutputBytes: z
    .int()
    .min(1024)
    .max(16 * 1024 * 1024)
    .default(1024 * 1024),
});
export type ExecConfig = z.infer<typeof execConfigSchema>;

/** What the program prints on stdout: one JSON object, nothing else. `evidence` and `collateral` are base64. */
const answerSchema = z.strictObject({
  format: z.string(),
  evidence: z.string(),
  collateral: z.array(z.string()).default([]),
});

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const KILL_GRACE_MS = 1_000;

/**
 * Runs the configured program once per request, with `{version, phase, reportData, imageDigest}` as JSON on stdin.
 * `phase` is `probe` when only its ability is asked for; then it should do all it does for `start`, but measure nothing.
 */
export function createExecAttester(config: ExecConfig, { log, clock = () => new Date() }: AttesterContext): Attester {
  const attest = async ({ reportData, imageDigest, phase, signal }: RunRequest) => {
    const input = JSON.stringify({ version: 1, phase, reportData, imageDigest });
    const answer = parseAnswer(await runProgram(config, input, signal));
    const document = { version: 1, type: "exec", reportData, producedAt: clock().toISOString(), ...answer };
    const evidence = evidenceSchema.safeParse(document);
    if (!evidence.success) throw badAnswer(z.prettifyError(evidence.error));
    log.info({ phase, format: answer.format, reportData }, "program made evidence");
    return evidence.data;
  };
  return {
    type: "exec",
    attest,
    probe: async ({ signal } = {}) => {
      try {
        const evidence = await attest({
          reportData: ZERO,
          imageDigest: ZERO,
          phase: "probe",
          ...(signal && { signal }),
        });
        return { available: true, detail: `${config.command[0]} answers in the format ${evidence.format}.` };
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof MarketError)) throw error;
        const { message: detail, hint } = error;
        return { available: false, detail, ...(hint && { hint }) };
      }
    },
  };
}

type RunRequest = Omit<AttestRequest, "phase"> & { phase: AttestRequest["phase"] | "probe" };
const ZERO = `0x${"0".repeat(64)}` as const;

/** The program's stdout. Throws ATTEST_PROGRAM_FAILED, ATTEST_PROGRAM_SLOW or ATTEST_PROGRAM_TALKATIVE. */
async function runProgram(config: ExecConfig, input: string, signal: AbortSignal | undefined): Promise<string> {
  const [file, ...args] = config.command;
  const { execa } = await import("execa"); // a node without such a program starts sooner
  const result = await execa(file, args, {
    input,
    env: { PATH, ...config.env },
    extendEnv: false,
    cwd: "/",
    encoding: "buffer",
    timeout: config.timeoutMs,
    maxBuffer: config.maxOutputBytes,
    forceKillAfterDelay: KILL_GRACE_MS,
    killDescendants: true,
    reject: false,
    ...(signal && { cancelSignal: signal }),
  });
  signal?.throwIfAborted();
  if (result.timedOut)
    throw new MarketError("ATTEST_PROGRAM_SLOW", `${file} ran past ${config.timeoutMs} ms and was stopped.`, {
      hint: "Give it a larger `timeoutMs` or find out what it waits for.",
      retryable: true,
    });
  if (result.isMaxBuffer)
    throw new MarketError("ATTEST_PROGRAM_TALKATIVE", `${file} printed more than ${config.maxOutputBytes} bytes.`, {
      hint: "It must print one JSON object and nothing else.",
    });
  if (result.failed) {
    const said = new TextDecoder().decode(result.stderr).trim().split("\n").at(-1);
    const reason = result.exitCode === undefined ? result.shortMessage : `${file} ended with code ${result.exitCode}`;
    throw new MarketError("ATTEST_PROGRAM_FAILED", `${reason}${said ? `: ${said}` : "."}`, { cause: result });
  }
  return new TextDecoder().decode(result.stdout);
}

function parseAnswer(stdout: string): z.infer<typeof answerSchema> {
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch {
    throw badAnswer("it is not JSON");
  }
  const answer = answerSchema.safeParse(json);
  if (!answer.success) throw badAnswer(z.prettifyError(answer.error));
  return answer.data;
}

function badAnswer(reason: string): MarketError {
  return new MarketError("ATTEST_PROGRAM_ANSWER", `The attestation program's answer cannot be used: ${reason}.`, {
    hint: 'It must print {"format": …, "evidence": base64, "collateral": [base64, …]} and nothing else.',
  });
}
