import { resolve } from "node:path";
import { orderToJson } from "@berth/protocol";
import type { Command } from "commander";
import { deposit, withdraw } from "../actions/fund.ts";
import { listOffers } from "../actions/list-offers.ts";
import { approve, cancel, finalize } from "../actions/settle.ts";
import { chainNow, marketBalance, tokenBalance, tokenOf } from "../chain-reads.ts";
import { parseJobId } from "../cli/arguments.ts";
import { describeOffers } from "../cli/describe.ts";
import { printAnswer, table } from "../cli/output.ts";
import type { Runner } from "../cli/runner.ts";
import type { GlobalFlags } from "../cli/session.ts";
import { formatBytes, formatMoney, parseMoney } from "../format.ts";
import { packImage } from "../image/pack.ts";
import type { Sent } from "../send.ts";
import { requesterOf } from "./jobs.ts";

/** `berth offers` */
export function addOffers(program: Command, run: Runner): void {
  program
    .command("offers")
    .description("List the offers of nodes.")
    .action(async (_options, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags>();
      await run(flags, { withKey: false }, async ({ client, config, context }) => {
        const token = await tokenOf(client, config.token);
        const offers = await listOffers(client, { token: token.address }, context);
        const json = offers.map(({ offer, ...rest }) => ({ ...rest, offer: orderToJson(offer) }));
        return { json: { offers: json }, text: describeOffers(offers, token, await chainNow(client)) };
      });
    });
}

/** `berth approve | cancel | finalize JOB` */
export function addSettling(program: Command, run: Runner): void {
  const verbs = [
    ["approve", "Pay for a job's results now. Verify them first.", approve],
    ["finalize", "End what is past its time: pay a result nobody disputed, or take the deposit back.", finalize],
    [
      "cancel",
      "Take back a request that nobody has taken.",
      async (...args: Parameters<typeof cancel>) => [await cancel(...args)],
    ],
  ] as const;
  for (const [name, description, act] of verbs) {
    program
      .command(name)
      .description(description)
      .argument("<job>", "its id")
      .action(async (id: string, _options, self: Command) => {
        await run(self.optsWithGlobals(), { withKey: true }, async ({ client, context }) =>
          asAnswer(await act(client, parseJobId(id), context)),
        );
      });
  }
}

/** `berth balance | deposit AMOUNT | withdraw AMOUNT` */
export function addMoney(program: Command, run: Runner): void {
  program
    .command("balance")
    .description("Show what an account has in the market and in its wallet.")
    .option("--requester <address>", "whose; default: the key's own")
    .action(async (_options, self: Command) => {
      const flags = self.optsWithGlobals<GlobalFlags & { requester?: string }>();
      await run(flags, { withKey: false }, async (session) => {
        const { client, config } = session;
        const account = await requesterOf(session, flags.requester);
        const token = await tokenOf(client, config.token);
        const [market, wallet] = await Promise.all([
          marketBalance(client, account, token.address),
          tokenBalance(client, account, token.address),
        ]);
        const rows = [
          ["account", account],
          ["in the market", formatMoney(market, token)],
          ["in the wallet", formatMoney(wallet, token)],
        ];
        return { json: { account, token, market, wallet }, text: table(rows) };
      });
    });
  const moves = [
    ["deposit", "Move money from the wallet into the market.", deposit],
    [
      "withdraw",
      "Take money out of the market.",
      async (...args: Parameters<typeof withdraw>) => [await withdraw(...args)],
    ],
  ] as const;
  for (const [name, description, act] of moves) {
    program
      .command(name)
      .description(description)
      .argument("<amount>", "decimal, like 1.5")
      .action(async (amount: string, _options, self: Command) => {
        await run(self.optsWithGlobals(), { withKey: true }, async ({ client, config, context }) => {
          const token = await tokenOf(client, config.token);
          return asAnswer(await act(client, token, parseMoney(amount, token), context));
        });
      });
  }
}

/** `berth image pack ROOTFS --out DIR`: needs no chain. */
export function addImage(program: Command): void {
  program
    .command("image")
    .description("Work with container images.")
    .command("pack")
    .description("Pack a folder into an OCI layout that `berth run oci:DIR` takes.")
    .argument("<rootfs>", "the folder that becomes the image's root")
    .requiredOption("--out <dir>", "the layout; must not exist")
    .option("--entrypoint <words...>", "program and fixed arguments")
    .option("--cmd <words...>", "default arguments")
    .action(async (rootfs: string, options: { out: string; entrypoint?: string[]; cmd?: string[] }, self: Command) => {
      const { entrypoint, cmd } = options;
      const config = { ...(entrypoint && { entrypoint }), ...(cmd && { command: cmd }) };
      const { digest, dir, bytes } = await packImage({
        rootfs: resolve(rootfs),
        outDir: resolve(options.out),
        config,
      });
      const text = `${dir}\n${digest}, ${formatBytes(bytes)}`;
      printAnswer({ json: { digest, dir, bytes }, text }, self.optsWithGlobals<GlobalFlags>().json === true);
    });
}

function asAnswer(transactions: Sent[]) {
  const text =
    transactions.length === 0
      ? "Nothing had to be done."
      : table(transactions.map(({ what, hash, gasUsed }) => [what, hash, `${gasUsed} gas`]));
  return { json: { transactions }, text };
}
