import { resolve } from "node:path";
import { MarketError } from "@berth/protocol";
import type { Command } from "commander";
import { openLog } from "../actions/check-sealed.ts";
import { agreementSentence } from "../actions/compare-results.ts";
import {
  fetchPart,
  fetchRecord,
  fetchResult,
  fetchSpec,
  logPart,
  type Part,
  readRecord,
  sourcesOf,
} from "../actions/fetch-result.ts";
import { followLogs, type LogPlace } from "../actions/follow-logs.ts";
import { getJob, type Job } from "../actions/get-job.ts";
import { assertFree, exportOutputs } from "../actions/run-job.ts";
import { verifyJob } from "../actions/verify-job.ts";
import { parseJobId, whole } from "../cli/arguments.ts";
import { exitCodes } from "../cli/exit-codes.ts";
import { identityHelp, keyringFor } from "../cli/identity.ts";
import { checkLines } from "../cli/output.ts";
import type { Runner } from "../cli/runner.ts";
import type { GlobalFlags, Session } from "../cli/session.ts";
import { printable } from "../format.ts";
import { identityOf } from "../sealed/keyring.ts";
import { looksSealed } from "../sealed/open.ts";
import { walletFromKeyFile } from "../wallet.ts";

interface LogFlags extends GlobalFlags {
  stderr?: boolean;
  replica?: number;
  follow?: boolean;
  identity?: string;
}

/** `berth logs JOB` */
export function addLogs(program: Command, run: Runner): void {
  program
    .command("logs")
    .description("Print what a job wrote to its standard output or error; while it runs, as its node tells.")
    .argument("<job>", "its id")
    .option("--stderr", "standard error instead of standard output")
    .option("--follow", "go on until the job ends; reading a job that runs needs the key that ordered or pays")
    .option("--replica <n>", "which replica (default 0)", whole("replicas"))
    .option("--identity <file>", identityHelp)
    .action(async (id: string, _options, self: Command) => {
      const flags = self.optsWithGlobals<LogFlags>();
      await run(flags, { withKey: false }, async (session) => {
        const { client, context } = session;
        const job = await getJob(client, parseJobId(id), context);
        const replica = job.replicas.find((each) => each.replica === (flags.replica ?? 0));
        if (replica === undefined) throw new MarketError("NO_RESULT", `The job is ${job.state}: there are no logs.`);
        const name = flags.stderr === true ? "stderr" : "stdout";
        if (replica.state === "active") return await liveLog(session, { jobId: job.jobId, ...replica }, name, flags);
        const sources = await sourcesOf(client, replica, context);
        const record = readRecord(await fetchRecord(client, replica, sources, context));
        const log = record[name];
        if (log === null) return { json: { [name]: null }, text: "" };
        const part = logPart(name, log);
        await fetchPart(client, part, sources, context);
        const bytes = await readLog(session, job, part, sources, flags);
        const text = new TextDecoder().decode(bytes).replace(/\n$/, "");
        return {
          json: { [name]: text, truncated: log.truncated },
          text: process.stdout.isTTY ? printable(text) : text,
        };
      });
    });
}

/** A log as it was written; who gets it encrypted needs the identity. Only then is the spec asked for. */
async function readLog(
  { client, config, context }: Session,
  job: Job,
  part: Part,
  sources: string[],
  flags: LogFlags,
): Promise<Uint8Array> {
  const { cid, maxBytes } = part;
  const { signal } = context;
  const bytes = await client.store.getBytes(cid, { maxBytes, signal });
  if (!looksSealed(bytes)) return bytes;
  const { encryptTo } = (await fetchSpec(client, job, sources, context)).outputs;
  if (encryptTo === undefined) return bytes; // the job itself wrote something that looks like it
  return await openLog(client, part, await identityOf(encryptTo, keyringFor(config, flags)), signal);
}

/** A job without a result: its node is asked, with the key of who ordered or pays. */
async function liveLog(
  { client, config, context }: Session,
  place: LogPlace,
  stream: "stdout" | "stderr",
  { json, follow = false }: { json?: boolean; follow?: boolean },
) {
  const wallet = config.keyFile === undefined ? undefined : (await walletFromKeyFile(config.keyFile))(client.rpc);
  const chunks: Uint8Array[] = [];
  const decoder = new TextDecoder();
  const show = (text: string) => process.stdout.write(printable(text));
  const onBytes = (bytes: Uint8Array) => {
    if (json === true) chunks.push(bytes);
    else if (process.stdout.isTTY) show(decoder.decode(bytes, { stream: true }));
    else process.stdout.write(bytes);
  };
  const say = (message: string) => context.onProgress({ phase: "run", message });
  const onAgain = (attempt: number) => say(`the node began the run again: attempt ${attempt}`);
  const end = await followLogs({ ...client, wallet }, place, { stream, follow, onBytes, onAgain }, context);
  const { outcome, exitCode, truncated, phase } = end;
  if (json !== true && process.stdout.isTTY) show(decoder.decode());
  const code = exitCode === null ? "" : ` with code ${exitCode}`;
  say(`${outcome === null ? phase : `${outcome}${code}`}, by the node's word; the result will have the verified log`);
  const text = Buffer.concat(chunks).toString("utf8").replace(/\n$/, "");
  return { json: { [stream]: text, truncated, live: true, phase, outcome, exitCode }, text: undefined };
}

/** `berth get JOB -o DIR` */
export function addGet(program: Command, run: Runner): void {
  program
    .command("get")
    .description("Fetch a job's outputs into a folder, after verifying them.")
    .argument("<job>", "its id")
    .requiredOption("-o, --out <dir>", "where to put them; must not exist or be empty")
    .option("--unverified", "put them there even if a check fails")
    .option("--identity <file>", identityHelp)
    .action(async (id: string, _options, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & { out: string; unverified?: boolean; identity?: string }>();
      await run(flags, { withKey: false }, async ({ client, config, trust, context }) => {
        const keyring = keyringFor(config, flags);
        const jobId = parseJobId(id);
        const out = resolve(flags.out);
        await assertFree(out);
        await fetchResult(client, await getJob(client, jobId, context), context);
        const verification = await verifyJob(client, jobId, { trust, keyring }, context);
        const { ok, checks } = verification;
        if (!ok && flags.unverified !== true) {
          const failed = checks.filter((check) => !check.ok).map(({ name, detail }) => `${name}: ${detail}`);
          throw new MarketError("NOT_VERIFIED", `The result does not verify. ${failed.join(" ")}`, {
            hint: "`berth verify JOB` shows every check; --unverified fetches the outputs all the same.",
          });
        }
        const outputs = await exportOutputs(client, verification, out, keyring, context);
        const text = `Outputs are in ${outputs}; ${ok ? `${checks.length} checks passed` : "they are NOT verified"}.`;
        return {
          json: { jobId, outputs, verification: { ok, checks } },
          text,
          exitCode: ok ? exitCodes.ok : exitCodes.verification,
        };
      });
    });
}

/** `berth verify JOB` */
export function addVerify(program: Command, run: Runner): void {
  program
    .command("verify")
    .description("Check a result from the contract's storage down to the bytes.")
    .argument("<job>", "its id")
    .option("--identity <file>", identityHelp)
    .action(async (id: string, _options, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & { identity?: string }>();
      await run(flags, { withKey: false }, async ({ client, config, trust, context }) => {
        const jobId = parseJobId(id);
        const keyring = keyringFor(config, flags);
        const { ok, checks, agreement } = await verifyJob(client, jobId, { trust, keyring }, context);
        const lines = checkLines(checks);
        return {
          json: { jobId, ok, checks, ...(agreement === null ? {} : { agreement }) },
          text: agreement === null ? lines : `${lines}\n\n${agreementSentence(agreement)}`,
          exitCode: ok ? exitCodes.ok : exitCodes.verification,
        };
      });
    });
}
