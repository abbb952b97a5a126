import {
  type Hex,
  type JobId,
  jobIdOf,
  jobMarketAbi,
  type MarketDomain,
  type Offer,
  type Request,
} from "@berth/protocol";
import { type AbiFunction, decodeAbiParameters, decodeFunctionData, getAbiItem } from "viem";
import { callDataOf, lowerCase } from "../chain-reads.ts";
import type { Client } from "../client.ts";

/** Two orders that a match bound together. */
export interface MatchOrders {
  request: Request;
  /** One for each replica, in their order. */
  offers: Offer[];
}

/**
 * The orders of job `jobId`, from the transaction that matched it. The market's events name what the orders came to, not the
 * orders themselves. Undefined where that transaction called the market through another contract, or is not to be had.
 */
export async function matchOrders(
  client: Client,
  { jobId, transaction }: { jobId: JobId; transaction: Hex },
  signal?: AbortSignal,
): Promise<MatchOrders | undefined> {
  const data = await callDataOf(client, transaction, signal);
  return data === undefined ? undefined : ordersIn(client.domain, data, jobId);
}

/** The orders of job `jobId` among the arguments of a call to the market. Pure. */
export function ordersIn(domain: MarketDomain, data: Hex, jobId: JobId): MatchOrders | undefined {
  return candidates(data)
    .map(({ request, offers }) => ({ request: lowerCase(request), offers: offers.map(lowerCase) }))
    .find(({ request }) => jobIdOf(domain, request) === jobId);
}

function candidates(data: Hex): MatchOrders[] {
  try {
    const { functionName, args } = decodeFunctionData({ abi: jobMarketAbi, data });
    if (functionName === "accept") return [{ request: args[0], offers: [args[1]] }];
    if (functionName === "matchJob") return [{ request: args[0], offers: [...args[3]] }];
    return functionName === "matchMany" ? args[0].flatMap(itemOf) : [];
  } catch {
    return []; // not a call to the market
  }
}

const { inputs: matchInputs } = getAbiItem({ abi: jobMarketAbi, name: "matchJob" }) satisfies AbiFunction;

/** An item that is no match failed on chain, and the others went on. */
function itemOf(item: Hex): MatchOrders[] {
  try {
    const [request, , , offers] = decodeAbiParameters(matchInputs, item);
    return [{ request, offers: [...offers] }];
  } catch {
    return [];
  }
}
