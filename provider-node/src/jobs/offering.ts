import type { Rpc } from "@berth/chain";
import {
  type Deployment,
  errorToJson,
  type Hex,
  type Offer,
  offerHashOf,
  offerTypedData,
  orderToJson,
  type Trait,
} from "@berth/protocol";
import { hasLimits, readNotAccepted, readRegistration } from "../chain/registration.ts";
import type { Config } from "../config.ts";
import { acceptedBy, type Capacity, makeOffer } from "../core/offer.ts";
import type { Self } from "../core/ports.ts";
import type { Context } from "../log.ts";
import { createAlarm } from "./alarm.ts";
import type { Proven } from "./doctor.ts";

export interface SignedOffer {
  offer: Offer;
  offerHash: Hex;
  signature: Hex;
}

export interface OfferingOptions {
  config: Config;
  self: Self;
  rpc: Rpc;
  deployment: Deployment;
  capacity: Capacity;
  proven: Proven;
  now(): number;
}

/** Keeps a fresh offer at the indexers. */
export interface Offering {
  /** The newest signed offer, and why there is none. */
  current(): SignedOffer | undefined;
  reason(): string | undefined;
  /** Sign and send anew now. */
  poke(): void;
  readonly done: Promise<void>;
}

const POST_MS = 5000;

/**
 * Signs an offer every `refreshSeconds` and posts it to every indexer. An indexer that does not take it is asked again
 * next time; a node that may not offer now says why and looks again.
 */
export function startOffering(options: OfferingOptions, context: Context): Offering {
  const { config } = options;
  const { signal, log } = context;
  const alarm = createAlarm();
  let signed: SignedOffer | undefined;
  let reason: string | undefined = "The first offer is not signed yet.";

  const done = (async () => {
    while (!signal.aborted) {
      try {
        const result = await signOffer(options);
        if (typeof result === "string") {
          if (result !== reason) log.warn({ reason: result }, "no offer made");
          [signed, reason] = [undefined, result];
        } else {
          [signed, reason] = [result, undefined];
          await Promise.all(config.indexers.map((base) => post(base, result, context)));
        }
      } catch (error) {
        if (signal.aborted) return;
        reason = errorToJson(error).message;
        log.warn({ reason }, "offer not refreshed");
      }
      // A node that waits for its registration should notice soon that it is there.
      const seconds = signed === undefined ? Math.min(5, config.offers.refreshSeconds) : config.offers.refreshSeconds;
      await alarm.wait(seconds * 1000, signal);
    }
  })();
  return { current: () => signed, reason: () => reason, poke: alarm.ring, done };
}

/** What the machine proved, as traits. The mesh trait waits until jobs can use the mesh. Pure. */
export function traitsOf(proven: Proven, arch: string): Trait[] {
  const architecture: Trait[] = arch === "x64" ? ["arch-amd64"] : arch === "arm64" ? ["arch-arm64"] : [];
  const isolation: Trait[] = proven.containers ? ["isolation-container"] : [];
  const attestation: Trait[] = proven.attestation === "none" ? [] : [`attest-${proven.attestation}`];
  return [...architecture, ...isolation, ...attestation];
}

async function signOffer({
  config,
  self,
  rpc,
  deployment,
  capacity,
  proven,
  now,
}: OfferingOptions): Promise<SignedOffer | string> {
  const { token } = config.offers;
  if (!proven.containers) return "This machine did not prove that it can run jobs; see `berth-node doctor`.";
  if (token === undefined) return "offers.token is not set.";
  const { operator, index, account } = self;
  const found = await readRegistration(rpc, deployment, { operator, index });
  if (found.key !== account.address.toLowerCase()) {
    return "The registry does not have this node's key; run `berth-node register`.";
  }
  if (found.validTo < now() + config.offers.ttlSeconds)
    return "The published key expires too soon; run `berth-node register`.";
  if (!hasLimits(found)) return "The operator set no limits for this node; run `berth-node register`.";
  const [missing] = await readNotAccepted(rpc, deployment, { operator, what: acceptedBy(config.offers) });
  if (missing !== undefined) return `The operator does not accept ${missing} yet; run \`berth-node register\`.`;
  const traits = traitsOf(proven, process.arch);
  const facts = { operator, index, token, epoch: found.epoch, now: now(), capacity, traits };
  const offer = makeOffer(facts, config.offers);
  const domain = { chainId: deployment.chainId, market: deployment.market };
  const signature = await account.signTypedData(offerTypedData(domain, offer));
  return { offer, offerHash: offerHashOf(domain, offer), signature };
}

async function post(
  base: string,
  { offer, offerHash, signature }: SignedOffer,
  { signal, log }: Context,
): Promise<void> {
  try {
    const response = await fetch(new URL("offers", base.endsWith("/") ? base : `${base}/`), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ offer: orderToJson(offer), signature }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(POST_MS)]),
    });
    if (response.ok) {
      await response.body?.cancel();
      log.debug({ indexer: base, offerHash }, "offer posted");
      return;
    }
    const answer = (await response.text()).slice(0, 500);
    log.warn({ indexer: base, offerHash, status: response.status, answer }, "indexer refused the offer");
  } catch (error) {
    if (signal.aborted) return;
    log.warn({ indexer: base, offerHash, reason: errorToJson(error).message }, "indexer did not take the offer");
  }
}
