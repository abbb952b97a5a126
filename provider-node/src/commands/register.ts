import { toMarketError } from "@berth/chain";
import { type Address, type Deployment, didOf, identityRegistryAbi, jobMarketAbi, MarketError } from "@berth/protocol";
import type { Command } from "commander";
import { encodeFunctionData } from "viem";
import { type ChainAccess, connectChain } from "../chain/connect.ts";
import { readKey } from "../chain/keys.ts";
import { areLimits, type Registration, readNotAccepted, readRegistration, readStake } from "../chain/registration.ts";
import { whole } from "../cli/arguments.ts";
import { exitCodes } from "../cli/exit-codes.ts";
import type { Run } from "../cli/runner.ts";
import { type Config, keyFileOf, need, wgKeyFileOf } from "../config.ts";
import { acceptedBy, limitsFor } from "../core/offer.ts";
import { capacityOf } from "../jobs/doctor.ts";
import { readNextKeys, waitingKeys } from "../jobs/rotation.ts";
import type { Context } from "../log.ts";
import { keyFromHex, loadOrCreateKey } from "../mesh/keys.ts";
import { addOperatorFlags, assertSender, type Call, carryOut, type OperatorFlags, operatorAnswer } from "./operator.ts";
import { type Answer, example, facts } from "./print.ts";
import { type Publication, planPublication } from "./publication.ts";

/** Days of key validity below which a new publication is due. */
const KEY_DAYS = 7;

export interface RegisterAnswer {
  did: string;
  operator: Address;
  index: number;
  key: Address;
  wgKey: string;
  contentUrl: string;
  wgEndpoint: string;
  /** Unix seconds. */
  validTo: number;
}

export interface CheckAnswer {
  complete: boolean;
  /** What the chain does not have yet, and what it has instead. */
  missing: { what: string; detail: string }[];
}

interface RegisterFlags extends OperatorFlags {
  validDays: string;
  check?: boolean;
}

/** `berth-node register` */
export function addRegister(program: Command, run: Run): void {
  const command = program
    .command("register")
    .description("publish this node's keys and limits with the operator's key, here or on another machine")
    .option("--valid-days <days>", "how long the hot key counts", "180")
    .option("--check", "send nothing: say what is missing on chain; exit code 1 while something is");
  addOperatorFlags(command)
    .addHelpText(
      "after",
      example(
        "berth-node register --operator-key-file operator.key",
        "berth-node register --prepare register.json   # sign and send them with any wallet, then:",
        "berth-node register --check",
      ),
    )
    .action((flags: RegisterFlags, self: Command) =>
      run(self, async ({ config, context }) => {
        const validDays = whole(flags.validDays, "--valid-days");
        if (flags.check === true) return await check(config, context);
        assertSender(flags);
        assertNoRotation(config);
        return await register(config, { flags, validDays }, context);
      }),
    );
}

/**
 * Publishes the node's keys and addresses, then the limits that the operator sets for it and what it accepts. May be
 * repeated: what is as it should be costs nothing.
 */
async function register(
  config: Config,
  { flags, validDays }: { flags: OperatorFlags; validDays: number },
  context: Context,
): Promise<Answer> {
  const { operator, access, found, publication, key, publicKey } = await look(config, validDays, context);
  const { rpc, deployment } = access;
  const calls = [publication.call, ...(await planLimits(config, access, found))];
  const carried = await carryOut(calls, { flags, rpc, operator, controller: found.controller }, context);
  const { contentUrl, wgEndpoint, validTo } = publication;
  const about: RegisterAnswer = {
    ...{ did: didOf(rpc.chainId, operator), operator, index: config.index, key, wgKey: publicKey },
    ...{ contentUrl, wgEndpoint, validTo },
  };
  const lines = [
    ["DID", about.did],
    ["node", String(about.index)],
    ["hot key", key],
    ["content", contentUrl],
    ["market", deployment.market],
  ] as const;
  return operatorAnswer(about, lines, carried, flags);
}

/** What of a registration the chain does not have yet. */
async function check(config: Config, context: Context): Promise<Answer> {
  const { operator, access, found, publication, key, wgKey } = await look(config, KEY_DAYS, context);
  const { deployment, rpc } = access;
  const missing: CheckAnswer["missing"] = [];
  const published = await isPublishedAs(found, publication, { key, wgKey, access, config });
  if (published !== true) missing.push({ what: "publish node", detail: published });
  for (const { what, description } of await planLimits(config, access, found))
    missing.push({ what, detail: description });
  const { token, maxBond } = config.offers;
  if (token === undefined) missing.push({ what: "token", detail: "offers.token is not set, so no offers are made." });
  else {
    const { free, locked } = await readStake(rpc, deployment, { operator, token });
    if (free + locked < maxBond)
      missing.push({
        what: "stake",
        detail: `${free + locked} token units are staked, but bonds go up to ${maxBond}.`,
      });
  }
  const answer: CheckAnswer = { complete: missing.length === 0, missing };
  const text = answer.complete
    ? "The chain has everything."
    : facts(missing.map(({ what, detail }) => [what, detail] as const));
  return { json: answer, text, exitCode: answer.complete ? exitCodes.ok : exitCodes.failed };
}

/** Publishing the old key again would undo a rotation that is half done. Throws ROTATION_UNDER_WAY. */
function assertNoRotation(config: Config): void {
  const waiting = waitingKeys(config);
  if (waiting.length === 0) return;
  throw new MarketError("ROTATION_UNDER_WAY", `New keys wait to be put into use: ${waiting.join(", ")}.`, {
    hint: "Run `berth-node rotate` again if they are not published, else start the node. To give them up, delete their .next files.",
  });
}

/** The registration as it should be, with the keys that wait where there are any. */
async function look(config: Config, validDays: number, context: Context) {
  const operator = need(config, "operator");
  const access = await connectChain(config, context);
  const { rpc, deployment } = access;
  const next = await readNextKeys(config);
  const hot = next.hot ?? readKey(keyFileOf(config), "hot key");
  const wgKey = next.wgKey ?? (await loadOrCreateKey(wgKeyFileOf(config))).wgKey;
  const publicKey = keyFromHex(wgKey);
  const found = await readRegistration(rpc, deployment, { operator, index: config.index });
  const { controller } = found;
  const publication = await planPublication(config, { hot, wgKey }, { rpc, deployment, controller, validDays });
  return { operator, access, found, publication, key: hot.address.toLowerCase() as Address, wgKey, publicKey };
}

/** The calls that let the node sign for what its configuration offers. */
async function planLimits(config: Config, { rpc, deployment }: ChainAccess, found: Registration): Promise<Call[]> {
  if (config.offers.token === undefined) return [];
  const operator = need(config, "operator");
  const { index } = config;
  const calls: Call[] = [];
  const limits = limitsFor(capacityOf(config), config.offers);
  if (!areLimits(found.limits, limits)) {
    const args = [operator, index, limits] as const;
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "setNodeLimits", args });
    const description = `Limits node ${index} to ${limits.maxActive} jobs at a time with bonds of ${limits.maxBond} token units, ${limits.cpuMilli / 1000} cores, ${limits.memoryMiB} MiB of memory and ${limits.diskMiB} MiB of disk.`;
    calls.push({ what: "set limits", description, to: deployment.market, data });
  }
  const missing = await readNotAccepted(rpc, deployment, { operator, what: acceptedBy(config.offers) });
  if (missing.length > 0) {
    const args = [operator, missing, true] as const;
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "setAccepted", args });
    const description = `Lets all nodes of ${operator} sign offers for ${missing.join(", ")}.`;
    calls.push({ what: "set accepted", description, to: deployment.market, data });
  }
  return calls;
}

/** True, or how the registry differs from what would be published now. */
async function isPublishedAs(
  found: Registration,
  { servicesHash, validTo }: Publication,
  { key, wgKey, access, config }: { key: Address; wgKey: string; access: ChainAccess; config: Config },
): Promise<true | string> {
  if (found.key !== key) return `The registry has the hot key ${found.key}, but this node's is ${key}.`;
  if (found.wgKey !== wgKey) return "The registry has another WireGuard key than this node.";
  if (found.validTo < validTo) return `The published key lasts less than ${KEY_DAYS} days more.`;
  if ((await readServicesHash(access, config)) !== servicesHash)
    return "The registry has other addresses of this node than its configuration.";
  return true;
}

async function readServicesHash(
  { rpc, deployment }: { rpc: ChainAccess["rpc"]; deployment: Deployment },
  config: Config,
) {
  const call = { address: deployment.identity, abi: identityRegistryAbi, functionName: "nodeOf" } as const;
  const args = [need(config, "operator"), config.index] as const;
  const { servicesHash } = await rpc.client.readContract({ ...call, args }).catch((error: unknown) => {
    throw toMarketError(error, { action: "Reading the node's publication" });
  });
  return servicesHash;
}
