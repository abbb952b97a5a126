import type { Address, Claim, Hex, Offer, Request } from "@berth/protocol";
import { at, ethers, time } from "./actors.ts";
import { addressOf, jobId, matchJob, type Ready, readyMarket, termsFor } from "./market.ts";

export const CHALLENGE = 600;
export const ARBITER_WINDOW = 3600;
export const FEE = 100n;
export const BOND = 1000n;
/** Of a deposit of 1,064 token units, 5 %. */
export const COMPENSATION = 53n;
export const DEPOSIT = 1064n;

/** A result charged at 800 of 1,064 token units. */
export const CLAIM: Claim = { resultHash: ethers.id("result") as Hex, resultBytes: 512n, charge: 800n };

export const Verdict = { Pending: 0n, Stands: 1n, Fails: 2n, Void: 3n };
/** How a verifier answers: so many bytes that begin with the word it was told, a revert with them, or never. */
export const Manner: Record<"Answers" | "Reverts" | "Burns" | "Mumbles" | "Floods" | "Bombs", Behaviour> = {
  Answers: { length: 32 },
  Reverts: { length: 32, fails: true },
  Burns: { length: 32, burns: true },
  Mumbles: { length: 31 },
  Floods: { length: 20_032 },
  Bombs: { length: 1_000_000 },
};
interface Behaviour {
  length: number;
  fails?: boolean;
  burns?: boolean;
}

/** A market whose operators accept an arbiter, and orders that name it. */
export async function arbitratedMarket() {
  const on = await readyMarket();
  return judgedBy(on, addressOf(on.arbiter));
}

/** The market `on` with orders that name `judge` as the arbiter. */
export async function judgedBy<T extends Ready>(on: T, judge: Address) {
  for (const operator of [on.operator, on.otherOperator]) {
    await on.market.connect(operator).setAccepted(operator, [judge], true);
  }
  const judged = { arbiter: judge, arbiterFee: FEE };
  const request = (replaced: Partial<Request> = {}): Request =>
    on.request({ ...judged, arbiterWindow: ARBITER_WINDOW, bond: BOND, ...replaced });
  const offer = (replaced: Partial<Offer> = {}): Offer => on.offer({ ...judged, baseCharge: 1000n, ...replaced });
  return { ...on, request, offer };
}

/** A replica in Active of the market `on`, with the terms that name it. */
export async function running<T extends Ready>(on: T, replaced: Partial<Request> = {}) {
  const request = on.request(replaced);
  const { verifier, verifierData, arbiter, arbiterData, arbiterFee } = request;
  const offer = on.offer({ verifier, verifierData, arbiter, arbiterData, arbiterFee });
  await matchJob(on, { request, offers: [offer] });
  const matchedAt = await time.latest();
  return { ...on, matchedRequest: request, terms: termsFor(on, request, offer), job: jobId(on, request), matchedAt };
}

/** A replica in Submitted that an arbiter would judge. */
export const disputableResult = () => disputable(CLAIM);

/** The same with a claim of one's choice. */
export async function disputable(claim: Claim) {
  const on = await running(await arbitratedMarket());
  const submittedAt = on.matchedAt + 50;
  await at(submittedAt);
  await on.market.connect(on.nodeKey).submit(on.terms, claim, "0x");
  return { ...on, claim, submittedAt };
}

/** A replica in Disputed. */
export async function disputedResult() {
  const on = await disputableResult();
  const disputedAt = on.submittedAt + 100;
  await at(disputedAt);
  await on.market.connect(on.requester).dispute(on.terms, on.claim);
  return { ...on, disputedAt };
}

/** A market whose operators accept a verifier that answers as it is told, and orders that name it beside the arbiter. */
export async function verifiedMarket() {
  const on = await arbitratedMarket();
  const double = await ethers.deployContract("JudgeDouble");
  const address = (await double.getAddress()) as Address;
  const verifier = {
    set: ({ length, fails = false, burns = false }: Behaviour, word: bigint) =>
      double.getFunction("set")(ethers.toBeHex(word, 32), length, fails, burns),
  };
  for (const operator of [on.operator, on.otherOperator]) {
    await on.market.connect(operator).setAccepted(operator, [address], true);
  }
  const request = (replaced: Partial<Request> = {}): Request => on.request({ verifier: address, ...replaced });
  const offer = (replaced: Partial<Offer> = {}): Offer => on.offer({ verifier: address, ...replaced });
  return { ...on, request, offer, verifier, verifierAddress: address };
}

/** A replica in Judging: its verifier has said nothing yet. */
export async function judgedResult() {
  const on = await running(await verifiedMarket());
  const submittedAt = on.matchedAt + 50;
  await at(submittedAt);
  await on.market.connect(on.nodeKey).submit(on.terms, CLAIM, "0x");
  return { ...on, claim: CLAIM, submittedAt };
}
