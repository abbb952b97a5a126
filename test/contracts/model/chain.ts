import {
  type Address,
  jobMarketAbi,
  type Offer,
  providerStakingAbi,
  type Request,
  testTokenAbi,
} from "@berth/protocol";
import { type Abi, decodeEventLog, encodeFunctionData, type Hex, toFunctionSelector } from "viem";
import { type Actor, provider } from "../support/actors.ts";
import { type Deployed, signOffer, signRequest } from "../support/market.ts";
import type { Call, Facts, Match, Settlement } from "./scene.ts";

const GAS = "0xb71b00"; // 12,000,000: enough for a batch, so that nothing fails for want of it
const ITEM_GAS = 2_000_000n;
const stakingCalls = new Set<string>(["stake", "requestExit", "cancelExit", "exit", "collect"]);
const errorNames = new Map(
  [...jobMarketAbi, ...providerStakingAbi, ...testTokenAbi].flatMap((item) =>
    item.type === "error" ? [[toFunctionSelector(`${item.name}(${item.inputs.map(typeOf)})`), item.name] as const] : [],
  ),
);

/** The chain, and who signs on it. */
export interface Chain {
  on: Deployed;
  facts: Facts;
  people: readonly Actor[];
  /** The verifier that answers as it is told. */
  judge: { set: (word: string, bytes: number, fails: boolean, burns: boolean) => Promise<unknown> };
}

/** What a call came to: the error's name where it failed, and of a batch the same for each item. */
export interface Sent {
  error: string | undefined;
  items: (string | undefined)[];
}

interface Receipt {
  logs: { address: Hex; topics: [Hex, ...Hex[]]; data: Hex }[];
}

/** Sends `call` by `by` in a block of its own, at `now`. */
export async function send(chain: Chain, call: Call, by: Address, now: number): Promise<Sent> {
  const { facts } = chain;
  const toStaking = stakingCalls.has(call.name);
  const data = await dataOf(chain, call, toStaking);
  await provider.request({ method: "evm_setNextBlockTimestamp", params: [now] });
  const transaction = { from: by, to: toStaking ? facts.staking : facts.market, data, gas: GAS };
  try {
    const hash = await provider.request({ method: "eth_sendTransaction", params: [transaction] });
    const receipt = (await provider.request({ method: "eth_getTransactionReceipt", params: [hash] })) as Receipt;
    return { error: undefined, items: failedItems(call, receipt) };
  } catch (cause) {
    return { error: nameOf(revertData(cause)), items: [] };
  }
}

async function dataOf(chain: Chain, call: Call, toStaking: boolean): Promise<Hex> {
  const abi: Abi = toStaking ? providerStakingAbi : jobMarketAbi;
  return encodeFunctionData({ abi, functionName: call.name, args: await argsOf(chain, call) });
}

async function argsOf(chain: Chain, { name, args }: Call): Promise<readonly unknown[]> {
  const { token } = chain.facts;
  switch (name) {
    case "deposit":
      return [args.account, token, args.amount];
    case "withdraw":
      return [args.account, token, args.amount, args.to];
    case "stake":
    case "requestExit":
      return [args.operator, token, args.amount];
    case "cancelExit":
      return [args.operator, token];
    case "exit":
      return [args.operator, token, args.to];
    case "collect":
      return [args.account, token, args.to];
    case "post":
      return [args.request, ...(await agreements(chain, args))];
    case "cancel":
      return [args.request];
    case "matchJob":
      return matchArgs(chain, args);
    case "accept":
      return [args.request, args.offer, proofOf(chain, args.request, args.offer)];
    case "decline":
      return [args.terms, args.sibling];
    case "submit":
      return [args.terms, args.claim, "0x"];
    case "approve":
    case "dispute":
    case "finalize":
      return finalizeArgs(args);
    case "rule":
      return [args.terms, args.claim, args.award];
    case "claim":
    case "close":
      return [args.terms];
    case "topUp":
      return [args.terms, args.addedSeconds];
    case "matchMany": {
      const each = await Promise.all(args.items.map((item) => matchArgs(chain, item)));
      return [each.map((item) => argumentsOf("matchJob", item)), ITEM_GAS];
    }
    case "finalizeMany":
      return [args.items.map((item) => argumentsOf("finalize", finalizeArgs(item))), ITEM_GAS];
    case "bumpEpoch":
      return [args.operator, 0];
    case "setNodeLimits":
      return [args.operator, 0, args.limits];
    case "setAccepted":
      return [args.operator, args.what, args.accepted];
    case "setPaused":
      return [args.paused];
  }
}

const finalizeArgs = ({ terms, claim }: Settlement) => [terms, claim];

async function matchArgs(chain: Chain, match: Match): Promise<readonly unknown[]> {
  const { request, offers } = match;
  const signatures = await Promise.all(offers.map((offer) => offerSignature(chain, match, offer)));
  const proofs = BigInt(request.operators) === 0n ? [] : offers.map((offer) => proofOf(chain, request, offer));
  return [request, ...(await agreements(chain, match)), offers, signatures, proofs];
}

/** The ABI-encoded arguments of a call, as a batch takes them. */
function argumentsOf(functionName: string, args: readonly unknown[]): Hex {
  return `0x${encodeFunctionData({ abi: jobMarketAbi as Abi, functionName, args }).slice(10)}`;
}

/** The signatures of requester and payer, where they give one. */
async function agreements(chain: Chain, by: { request: Request; requesterSigned: boolean; payerSigned: boolean }) {
  const { request } = by;
  const signed = async (account: Address) => signRequest(chain.on, actorOf(chain, account), request);
  return [
    by.requesterSigned ? await signed(request.requester) : "0x",
    by.payerSigned && request.payer !== request.requester ? await signed(request.payer) : "0x",
  ];
}

async function offerSignature(chain: Chain, { offersSigned }: Match, offer: Offer) {
  const key = chain.facts.nodes[offer.operator]?.key ?? offer.operator;
  return signOffer(chain.on, actorOf(chain, offersSigned ? key : offer.operator), offer);
}

function proofOf({ facts }: Chain, request: Request, offer: Offer): Hex[] {
  return BigInt(request.operators) === 0n ? [] : (facts.list.proofs[offer.operator] ?? []);
}

function actorOf({ people }: Chain, account: Address): Actor {
  const actor = people.find(({ address }) => address === account);
  // An account without a key, like zero, is signed for by somebody else.
  return actor ?? (people[0] as Actor);
}

function failedItems(call: Call, { logs }: Receipt): (string | undefined)[] {
  if (call.name !== "matchMany" && call.name !== "finalizeMany") return [];
  const items: (string | undefined)[] = call.args.items.map(() => undefined);
  for (const log of logs) {
    const event = decodeEventLog({ abi: [...jobMarketAbi, ...providerStakingAbi], ...log });
    if (event.eventName === "ItemFailed") items[Number(event.args.item)] = nameOf(event.args.reason);
  }
  return items;
}

function typeOf(input: { type: string }): string {
  return input.type;
}

function nameOf(data: Hex): string {
  return errorNames.get(data.slice(0, 10) as Hex) ?? `unknown error ${data}`;
}

function revertData(cause: unknown): Hex {
  const { data } = cause as { data?: Hex | { data?: Hex } };
  const found = typeof data === "object" ? data.data : data;
  if (found === undefined) throw cause;
  return found;
}
