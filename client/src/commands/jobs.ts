import { MarketError } from "@berth/protocol";
import type { Command } from "commander";
import { getJob } from "../actions/get-job.ts";
import { listJobs } from "../actions/list-jobs.ts";
import { tokenAt } from "../chain-reads.ts";
import { parseJobId } from "../cli/arguments.ts";
import { describeJob } from "../cli/describe.ts";
import { table } from "../cli/output.ts";
import type { Runner } from "../cli/runner.ts";
import type { GlobalFlags, Session } from "../cli/session.ts";
import { walletFromKeyFile } from "../wallet.ts";

/** `berth ls` */
export function addLs(program: Command, run: Runner): void {
  program
    .command("ls")
    .description("List a requester's jobs, newest first.")
    .option("--requester <address>", "whose; default: the key's own")
    .action(async (_options, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & { requester?: string }>();
      await run(flags, { withKey: false }, async (session) => {
        const requester = await requesterOf(session, flags.requester);
        const jobs = await listJobs(session.client, { requester }, session.context);
        const rows = jobs.map(({ jobId, state, replicas }) => [
          jobId,
          state,
          replicas.map(({ operator, index }) => (operator === null ? "" : `${operator}/${index}`)).join(" "),
        ]);
        return {
          json: { jobs },
          text: jobs.length === 0 ? "There are no jobs." : table(rows, ["job", "state", "nodes"]),
        };
      });
    });
}

/** `berth show JOB` */
export function addShow(program: Command, run: Runner): void {
  program
    .command("show")
    .description("Show how a job stands, from the chain.")
    .argument("<job>", "its id")
    .action(async (id: string, _options, self: Command) => {
      await run(self.optsWithGlobals(), { withKey: false }, async ({ client, context }) => {
        const job = await getJob(client, parseJobId(id), context);
        const token = await tokenAt(client, job.order.token);
        const waits = job.state === "open" || job.state === "posted";
        const why = waits ? (await client.indexer?.explain(job.jobId, context))?.sentence : undefined;
        return { json: { ...job, ...(why === undefined ? {} : { why }) }, text: describeJob(job, token, why) };
      });
    });
}

/** The address given, or that of the configured key. Throws REQUESTER_MISSING, REQUESTER_INVALID. */
export async function requesterOf({ client, config }: Session, given: string | undefined): Promise<`0x${string}`> {
  if (given !== undefined) {
    if (/^0x[0-9a-fA-F]{40}$/.test(given)) return given.toLowerCase() as `0x${string}`;
    throw new MarketError("REQUESTER_INVALID", `"${given}" is not an account's address.`, {
      hint: "It is 0x and 40 hexadecimal digits.",
    });
  }
  if (config.keyFile !== undefined) return (await walletFromKeyFile(config.keyFile))(client.rpc).address;
  throw new MarketError("REQUESTER_MISSING", "Whose, is not said.", {
    hint: "Give --requester ADDRESS, or a --key-file.",
  });
}
