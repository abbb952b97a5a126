import type { Rpc } from "@berth/chain";
import {
  type Address,
  type Deployment,
  type Hex,
  type JobId,
  MarketError,
  type Offer,
  type Request,
} from "@berth/protocol";
import type { LiveBook } from "../book/live-book.ts";
import { createSignatureCheck } from "../book/signatures.ts";
import { type TakeOptions, takeOffer } from "../book/take-offer.ts";
import { type SignedBody, takeRequest } from "../book/take-request.ts";
import { createRateLimit } from "../http/rate-limit.ts";
import type { Database } from "../store/database.ts";
import { createGate, type Gate } from "./gate.ts";
import { DEFAULT_INTAKE, type IntakeLimits } from "./limits.ts";

/** Requests whose payers lack the money, of one sender: places for them are few, and payers without money are free. */
const UNFUNDED_RATE = { burst: 100, perSecond: 0.1 };

/** The one door for signed orders, over HTTP and from other indexers. */
export interface Intake {
  readonly gate: Gate;
  readonly limits: IntakeLimits;
  /** Throws what `takeOffer` does, and INDEXER_BEHIND, INTAKE_BUSY. */
  takeOffer(from: Sender, offer: Offer, signature: Hex): Promise<Hex>;
  /** Throws what `takeRequest` does, and INDEXER_BEHIND, INTAKE_BUSY. */
  takeRequest(from: Sender, body: SignedBody): Promise<JobId>;
}

export interface Sender {
  /** Whom the limits count an order for. */
  sender: string;
  /** Are only requests taken whose payer has the money? */
  fundedOnly?: boolean;
}

export interface IntakeOptions {
  rpc: Rpc;
  db: Database;
  live: LiveBook;
  deployment: Deployment;
  limits?: Partial<IntakeLimits> | undefined;
  /** Unix seconds, as the chain counts them. */
  now: () => number;
  caughtUp: () => boolean;
  /** An order was taken, or was there already. */
  onTaken: () => void;
}

export function createIntake(options: IntakeOptions): Intake {
  const { rpc, db, live, deployment, now, caughtUp, onTaken } = options;
  const limits = { ...DEFAULT_INTAKE, ...options.limits };
  const gate = createGate(limits.gate, busy);
  const isSignedBy = createSignatureCheck(rpc);
  const unfunded = createRateLimit(UNFUNDED_RATE);

  async function take<T>(from: Sender, work: (options: TakeOptions) => Promise<T>): Promise<T> {
    requireCaughtUp(caughtUp());
    const { sender, fundedOnly = false } = from;
    const taken = await gate.pass(sender, () =>
      work({
        db,
        live,
        deployment,
        limits,
        now: now(),
        nowMs: Date.now(),
        isSignedBy: (account: Address, hash: Hex, signature: Hex) => isSignedBy(sender, account, hash, signature),
        takeUnfunded(request) {
          if (fundedOnly) throw unfundedOfOthers(request);
          unfunded.take(sender);
        },
      }),
    );
    onTaken();
    return taken;
  }

  return {
    gate,
    limits,
    takeOffer: (from, offer, signature) => take(from, (given) => takeOffer(offer, signature, given)),
    takeRequest: (from, body) => take(from, (given) => takeRequest(body, given)),
  };
}

/** An order cannot be judged by tables that lag behind. */
function requireCaughtUp(isCaughtUp: boolean): void {
  if (isCaughtUp) return;
  throw new MarketError("INDEXER_BEHIND", "The indexer has not caught up with the chain yet.", {
    hint: "Try again when GET /ready answers 200.",
    retryable: true,
  });
}

function busy(): MarketError {
  return new MarketError("INTAKE_BUSY", "More orders came in than this indexer can check at the moment.", {
    hint: "Hand the order in again after a few seconds, or to another indexer.",
    retryable: true,
  });
}

function unfundedOfOthers({ payer }: Request): MarketError {
  return new MarketError("REQUEST_UNFUNDED", `The payer ${payer} has not deposited what the request may cost.`, {
    hint: "Requests that came in elsewhere are taken when they are paid for.",
    retryable: true,
  });
}
