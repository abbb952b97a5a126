import {
  type Address,
  didAttributes,
  identityRegistryAbi,
  jobMarketAbi,
  orderToJson,
  type Request,
  requestTypedData,
  requireSound,
} from "@berth/protocol";
import { encodeFunctionData, stringToHex } from "viem";
import { contentUrlOf } from "../chain-reads.ts";
import { type Client, type Context, indexerOf } from "../client.ts";
import { type Sent, sendCall, signDocument } from "../send.ts";

/** How long an announced content address counts. */
const ANNOUNCED_SECONDS = 30n * 86_400n;

/** What goes to the indexer beside a request. */
export interface Enclosed {
  /** Gateways that have the spec, image and inputs. */
  sources: readonly string[];
  /** The list that `request.operators` commits to, where it names one. */
  operators?: readonly Address[] | undefined;
}

/**
 * Signs a request and gives it to the indexer: costs no gas. One that is posted may be handed in too.
 * Throws REQUEST_UNSOUND before anything is signed; NOT_SIGNED, INDEXER_UNAVAILABLE, INDEXER_REFUSED.
 */
export async function signRequest(
  client: Client,
  request: Request,
  enclosed: Enclosed,
  context: Context = {},
): Promise<void> {
  requireSound(request);
  const indexer = indexerOf(client);
  const signature = await signDocument(client, "request", requestTypedData(client.domain, request));
  await indexer.postRequest({ request: orderToJson(request), signature, ...enclosed }, context);
}

/**
 * Posts a request on chain, where nobody can withhold it and its money is reserved. Nodes find the content by the
 * requester's DID, so `contentUrl` is announced there first unless it is already.
 * Throws REQUEST_UNSOUND before anything is sent, and the errors of `sendCall`.
 */
export async function postRequest(
  client: Client,
  request: Request,
  contentUrl: string,
  context: Context = {},
): Promise<Sent[]> {
  requireSound(request);
  const sent: Sent[] = [];
  const { identity, market } = client.deployment;
  if ((await contentUrlOf(client, request.requester, context.signal)) !== contentUrl) {
    const name = stringToHex(didAttributes.contentUrl, { size: 32 });
    const args = [request.requester, name, stringToHex(contentUrl), ANNOUNCED_SECONDS] as const;
    const data = encodeFunctionData({ abi: identityRegistryAbi, functionName: "setAttribute", args });
    sent.push(
      await sendCall(client, { what: "announce content", to: identity, data, abi: identityRegistryAbi }, context),
    );
  }
  const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "post", args: [request, "0x", "0x"] });
  sent.push(await sendCall(client, { what: "post", to: market, data, abi: jobMarketAbi }, context));
  return sent;
}
