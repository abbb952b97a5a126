import { type Client, type Context, indexerOf } from "../client.ts";
import type { ListedOffer } from "../indexer.ts";

/** Offers in the order book of the client's indexer. Throws INDEXER_MISSING, INDEXER_UNAVAILABLE. */
export async function listOffers(
  client: Client,
  filter: { token?: string | undefined } = {},
  context: Context = {},
): Promise<ListedOffer[]> {
  return await indexerOf(client).offers(filter, context);
}
