import { type Address, didOf, MarketError } from "@berth/protocol";
import type { Command } from "commander";
import { connectChain } from "../chain/connect.ts";
import { createKeyFile, readKey } from "../chain/keys.ts";
import { readRegistration } from "../chain/registration.ts";
import { oneOf, whole } from "../cli/arguments.ts";
import type { Run } from "../cli/runner.ts";
import { type Config, keyFileOf, need, wgKeyFileOf } from "../config.ts";
import { nextKeyFile, readNextKeys } from "../jobs/rotation.ts";
import type { Context } from "../log.ts";
import { keyFromHex, loadOrCreateKey } from "../mesh/keys.ts";
import { isLocked } from "../store/open.ts";
import { addOperatorFlags, assertSender, carryOut, type OperatorFlags, operatorAnswer } from "./operator.ts";
import { type Answer, example } from "./print.ts";
import { planPublication } from "./publication.ts";

export interface RotateAnswer {
  did: string;
  operator: Address;
  index: number;
  /** The keys that the registry is told: new ones, and those that stay. */
  key: Address;
  wgKey: string;
  /** Files of the new keys, until they take the place of the old ones. */
  waiting: string[];
  /** Unix seconds. */
  validTo: number;
}

interface RotateFlags extends OperatorFlags {
  only?: string;
  validDays: string;
}

/** `berth-node rotate` */
export function addRotate(program: Command, run: Run): void {
  const command = program
    .command("rotate")
    .description("give this node a new hot key and a new WireGuard key; running jobs are finished, and no key is lost")
    .option("--only <key>", "hot or wireguard; default: both")
    .option("--valid-days <days>", "how long the hot key counts", "180");
  addOperatorFlags(command)
    .addHelpText(
      "after",
      example(
        "berth-node rotate --operator-key-file operator.key",
        "berth-node rotate --only hot --prepare rotate.json",
      ),
    )
    .action((flags: RotateFlags, self: Command) =>
      run(self, async ({ config, context }) => {
        const which = flags.only === undefined ? "both" : oneOf(flags.only, ["hot", "wireguard"], "--only");
        const validDays = whole(flags.validDays, "--valid-days");
        assertSender(flags);
        return await rotate(config, { flags, which, validDays }, context);
      }),
    );
}

/**
 * Makes the new keys beside the old ones and publishes them. The node puts them into use as soon as the chain has them, deep
 * enough: at its next start, or while it runs. May be repeated: a key that waits already is not made again.
 */
async function rotate(
  config: Config,
  { flags, which, validDays }: { flags: OperatorFlags; which: "both" | "hot" | "wireguard"; validDays: number },
  context: Context,
): Promise<Answer> {
  const operator = need(config, "operator");
  const old = readKey(keyFileOf(config), "hot key");
  const { rpc, deployment } = await connectChain(config, context);
  const { controller, key: published } = await readRegistration(rpc, deployment, { operator, index: config.index });
  if (which !== "wireguard") createKeyFile(nextKeyFile(keyFileOf(config)));
  if (which !== "hot") await loadOrCreateKey(nextKeyFile(wgKeyFileOf(config)));
  const next = await readNextKeys(config);
  if (next.hot === undefined && published !== old.address.toLowerCase()) {
    throw new MarketError("NOT_PUBLISHED", `The registry has the hot key ${published}, not ${old.address}.`, {
      hint: "Run `berth-node register` first, or rotate the hot key too.",
    });
  }
  const hot = next.hot ?? old;
  const wgKey = next.wgKey ?? (await loadOrCreateKey(wgKeyFileOf(config))).wgKey;
  const plan = { rpc, deployment, controller, validDays };
  const { call, validTo } = await planPublication(config, { hot, wgKey }, plan);
  const carried = await carryOut([call], { flags, rpc, operator, controller }, context);
  const waiting = [
    ...(next.hot === undefined ? [] : [nextKeyFile(keyFileOf(config))]),
    ...(next.wgKey === undefined ? [] : [nextKeyFile(wgKeyFileOf(config))]),
  ];
  const key = hot.address.toLowerCase() as Address;
  const about: RotateAnswer = {
    ...{ did: didOf(rpc.chainId, operator), operator, index: config.index, key },
    ...{ wgKey: keyFromHex(wgKey), waiting, validTo },
  };
  const when = isLocked(config.dataDir) ? "by the running node" : "at the node's next start";
  const lines = [
    ["hot key", key],
    ["WireGuard key", about.wgKey],
    ["put into use", `${when}, ${config.confirmations} blocks after they are published`],
  ] as const;
  return operatorAnswer(about, lines, carried, flags);
}
