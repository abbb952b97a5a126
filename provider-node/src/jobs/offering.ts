import { createAlarm, type Rpc } from "@berth/chain";
import { readText } from "@berth/content";
import {
  type Deployment,
  errorToJson,
  type Hex,
  maskToTraits,
  offerHashOf,
  offerTypedData,
  orderToJson,
  shownUrl,
  type Trait,
} from "@berth/protocol";
import { hasLimits, readNotAccepted, readRegistration } from "../chain/registration.ts";
import { SUBMIT_GAS } from "../config/offers.ts";
import type { Config } from "../config.ts";
import { acceptedBy, type Capacity, makeOffer, namedBy } from "../core/offer.ts";
import type { Self } from "../core/ports.ts";
import { freeBytesOf } from "../disk.ts";
import type { Context } from "../log.ts";
import type { Quote } from "../policy/posted.ts";
import { pricesFor } from "../policy/prices.ts";
import { profilesOf, requestersOf } from "../policy/profiles.ts";
import { whyNoGas, whyWithheld } from "../policy/withhold.ts";
import { isDraining } from "../store/drain.ts";
import { type OfferingState, writeOffering } from "../store/offering-state.ts";
import type { Database } from "../store/open.ts";
import { createPromises } from "../store/promises.ts";
import type { Proven } from "./doctor.ts";

/** One of the node's offers, of one profile and for one requester or everybody. */
export interface SignedOffer extends Quote {
  offerHash: Hex;
  signature: Hex;
}

export interface OfferingOptions {
  config: Config;
  self: Self;
  rpc: Rpc;
  deployment: Deployment;
  database: Database;
  /** What of the capacity is there just now. */
  measure(own: Context): Promise<Capacity>;
  /** What the newest checks proved. */
  proven(): Proven;
  /** Unix milliseconds since when the RPC has been behind or silent; null while it is neither. */
  behindSince(): number | null;
  now(): number;
  /** Called when other things are offered than before, or for other reasons not. */
  onChange(): void;
}

/** Keeps fresh offers at the indexers. */
export interface Offering {
  current(): readonly SignedOffer[];
  /** Why there are none; undefined while there are some, and before the first look. */
  reason(): string | undefined;
  /** Sign and send anew now. */
  poke(): void;
  readonly done: Promise<void>;
}

/** The newest offers, and what is not offered: all profiles, or one of them. */
interface Outcome {
  signed: SignedOffer[];
  withheld: OfferingState["withheld"];
}

const POST_MS = 5000;
const MAX_ANSWER_BYTES = 64 * 1024;
/** How often the node looks whether it may still offer, and one that may not whether it may again. */
const LOOK_SECONDS = 5;

/**
 * Signs the offers every `refreshSeconds` and posts them to every indexer. An indexer that does not take one is asked
 * again next time. A node that may not offer now says why, lets go of what it offered and looks again.
 */
export function startOffering(options: OfferingOptions, context: Context): Offering {
  const { config, database, now } = options;
  const { signal, log } = context;
  const alarm = createAlarm();
  const promises = createPromises(database);
  let signed: readonly SignedOffer[] = [];
  let reason: string | undefined;
  let told = "";
  let isFirst = true;
  /** Unix milliseconds. */
  let dueAt = 0;

  const done = (async () => {
    while (!signal.aborted) {
      try {
        const why = whyWithheld(standingOf(options));
        if (why !== undefined) tell({ signed: [], withheld: [{ profile: null, reason: why }] });
        else if (signed.length === 0 || Date.now() >= dueAt) await refresh();
      } catch (error) {
        if (signal.aborted) return;
        reason = errorToJson(error).message;
        log.warn({ reason }, "offers not refreshed");
      }
      await alarm.wait(Math.min(LOOK_SECONDS, config.offers.refreshSeconds) * 1000, signal);
    }
  })();
  return {
    current: () => signed.filter(({ offer }) => offer.expiresAt >= now()),
    reason: () => reason,
    poke() {
      dueAt = 0;
      alarm.ring();
    },
    done,
  };

  async function refresh(): Promise<void> {
    dueAt = Date.now() + config.offers.refreshSeconds * 1000;
    const outcome = await signOffers(options, context);
    // Before anybody can take one of them.
    for (const { offer } of outcome.signed) promises.note(maskToTraits(offer.traits), offer.expiresAt);
    tell(outcome);
    const { indexers } = config;
    await Promise.all(indexers.map((base) => postAll(base, outcome.signed, context)));
  }

  function tell({ signed: offers, withheld }: Outcome): void {
    const text = JSON.stringify(withheld);
    if (text !== told) for (const { profile, reason } of withheld) log.warn({ profile, reason }, "no offer made");
    if (text !== told || offers.length > 0) {
      const kept = offers.map(({ profile, offer: { requester, expiresAt }, offerHash }) => {
        return { profile, requester, offerHash, expiresAt };
      });
      writeOffering(database, { at: now(), offers: kept, withheld });
    }
    told = text;
    signed = offers;
    const before = reason;
    reason = offers.length > 0 ? undefined : withheld[0]?.reason;
    if (isFirst || reason !== before) options.onChange();
    isFirst = false;
  }
}

/** What the machine proved, as traits. The mesh trait waits until jobs can use the mesh. Pure. */
export function traitsOf(proven: Proven, arch: string): Trait[] {
  const architecture: Trait[] = arch === "x64" ? ["arch-amd64"] : arch === "arm64" ? ["arch-arm64"] : [];
  const isolation: Trait[] = proven.containers ? ["isolation-container"] : [];
  const attestation: Trait[] = proven.attestation === "none" ? [] : [`attest-${proven.attestation}`];
  const gvisor: Trait[] = proven.containers && proven.gvisor ? ["isolation-gvisor"] : [];
  return [...architecture, ...isolation, ...gvisor, ...attestation];
}

function standingOf({ config, database, proven, behindSince }: OfferingOptions) {
  return {
    draining: isDraining(database),
    proven: proven(),
    freeDiskBytes: freeBytesOf(config.dataDir),
    minFreeBytes: config.minFreeMiB * 2 ** 20,
    behindSince: behindSince(),
    nowMs: Date.now(),
  };
}

async function signOffers(options: OfferingOptions, context: Context): Promise<Outcome> {
  const { config, self, rpc, deployment, proven, now } = options;
  const { operator, index, account } = self;
  const none = (reason: string): Outcome => ({ signed: [], withheld: [{ profile: null, reason }] });
  const profiles = profilesOf(config.offers);
  if (profiles.every(({ token }) => token === undefined)) return none("offers.token is not set.");
  const found = await readRegistration(rpc, deployment, { operator, index });
  if (found.key !== account.address.toLowerCase()) {
    return none("The registry does not have this node's key; run `berth-node register`.");
  }
  const expiresAt = now() + config.offers.ttlSeconds;
  if (found.validTo < expiresAt) return none("The published key expires too soon; run `berth-node register`.");
  if (!hasLimits(found)) return none("The operator set no limits for this node; run `berth-node register`.");
  const [weiPerGas, balanceWei] = await Promise.all([
    rpc.client.getGasPrice(),
    rpc.client.getBalance({ address: account.address }),
  ]);
  const gasPerJob = Math.max(...profiles.map(({ gas }) => gas?.gasPerJob ?? SUBMIT_GAS));
  const noGas = whyNoGas({ key: account.address, balanceWei, weiPerGas, gasPerJob });
  if (noGas !== undefined) return none(noGas);

  const measured = await options.measure(context);
  const capacity = { ...measured, gpus: Math.min(measured.gpus, proven().gpus.length) };
  const lacking = (["cpuMilli", "memoryMiB", "diskMiB"] as const).find((name) => capacity[name] === 0);
  if (lacking !== undefined) return none(`No ${lacking} can be offered just now.`);

  const notAccepted = await readNotAccepted(rpc, deployment, { operator, what: acceptedBy(config.offers) });
  const domain = { chainId: deployment.chainId, market: deployment.market };
  const traits = traitsOf(proven(), process.arch);
  const outcome: Outcome = { signed: [], withheld: [] };
  for (const profile of profiles) {
    const { name, token } = profile;
    const missing = namedBy(profile).find((address) => notAccepted.includes(address));
    if (token === undefined) outcome.withheld.push({ profile: name, reason: "It has no token." });
    else if (missing !== undefined) {
      const reason = `The operator does not accept ${missing} yet; run \`berth-node register\`.`;
      outcome.withheld.push({ profile: name, reason });
    } else {
      const prices = pricesFor(profile, { now: now(), until: expiresAt, weiPerGas });
      const facts = {
        operator,
        index,
        token,
        epoch: found.epoch,
        expiresAt,
        capacity,
        traits,
        prices,
        gpuModel: config.gpus.model,
      };
      for (const requester of requestersOf(profile)) {
        context.signal.throwIfAborted(); // a node that stops promises nothing more
        const offer = makeOffer({ ...facts, requester }, profile);
        const signature = await account.signTypedData(offerTypedData(domain, offer));
        outcome.signed.push({ profile: name, offer, offerHash: offerHashOf(domain, offer), signature });
      }
    }
  }
  return outcome;
}

/** One after another, until the indexer does not answer. */
async function postAll(base: string, offers: readonly SignedOffer[], context: Context): Promise<void> {
  for (const offer of offers) if (context.signal.aborted || !(await post(base, offer, context))) return;
}

/** Returns whether the indexer answered at all. */
async function post(
  base: string,
  { offer, offerHash, signature }: SignedOffer,
  { signal, log }: Context,
): Promise<boolean> {
  const indexer = shownUrl(base);
  try {
    const response = await fetch(new URL("offers", base.endsWith("/") ? base : `${base}/`), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ offer: orderToJson(offer), signature }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(POST_MS)]),
    });
    if (response.ok) {
      await response.body?.cancel();
      log.debug({ indexer, offerHash }, "offer posted");
      return true;
    }
    const answer = (await readText(response, MAX_ANSWER_BYTES)).slice(0, 500);
    log.warn({ indexer, offerHash, status: response.status, answer }, "indexer refused the offer");
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    log.warn({ indexer, offerHash, reason: errorToJson(error).message }, "indexer did not take the offer");
    return false;
  }
}
