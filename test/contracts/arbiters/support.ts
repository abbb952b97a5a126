import {
  type Address,
  type Claim,
  type Hex,
  type JobId,
  juryEvidence,
  type Panel,
  panelHash,
  sortedJurors,
  type Terms,
  voteTypedData,
} from "@berth/protocol";
import { type Actor, ethers, time } from "../support/actors.ts";
import { addressOf, CHAIN_ID, jobId, matchJob, readyMarket, termsFor } from "../support/market.ts";
import { hex, named } from "../verifiers/support.ts";

type JuryMethods =
  | "stake"
  | "requestExit"
  | "exit"
  | "carryOut"
  | "slash"
  | "collect"
  | "decode"
  | "hashVote"
  | "stakeOf"
  | "owedTo"
  | "market"
  | "EXIT_DELAY";

export const FEE = 100n;
export const MIN_STAKE = 500n;
export const STAKE = 800n;
/** What the node claims of 69 token units. */
export const CLAIMED = 40n;

/** A market, and a jury of five whose jurors have staked. The fifth has not. */
export async function juryMarket() {
  const on = await readyMarket();
  const jury = named<JuryMethods>(await ethers.deployContract("JuryArbiter", [on.market]));
  const address = (await jury.getAddress()) as Address;
  const signers = (await ethers.getSigners()).slice(14, 19);
  const jurors = sortedJurors(signers.map(addressOf)).map((juror) => {
    const signer = signers.find((one) => one.address === juror);
    if (signer === undefined) throw new Error(`${juror} has no key.`);
    return signer;
  });
  for (const juror of jurors.slice(0, 4)) await stakeAsJuror({ ...on, jury }, juror, STAKE);
  const panel: Panel = {
    jurors: jurors.map(addressOf),
    needed: 3,
    stakeToken: on.addresses.token,
    minStake: MIN_STAKE,
  };
  return { ...on, jury, jurors, panel, addresses: { ...on.addresses, jury: address } };
}
export type JuryMarket = Awaited<ReturnType<typeof juryMarket>>;

export async function stakeAsJuror(on: Pick<JuryMarket, "token" | "jury">, juror: Actor, amount: bigint) {
  await on.token.mint(juror, amount);
  await on.token.connect(juror).approve(on.jury, amount);
  await on.jury.connect(juror).stake(on.token, amount);
}

interface DisputeOptions {
  panel?: Panel;
  /** Who the orders name: the jury, or a person with the same panel. */
  by?: "jury" | "person";
  token?: Address;
  fee?: bigint;
}

/** A result that its requester disputes before the jury. */
export async function disputeBefore(on: JuryMarket, options: DisputeOptions = {}) {
  const { panel = on.panel, by = "jury", token = on.addresses.token, fee = FEE } = options;
  const arbiter = by === "jury" ? on.addresses.jury : addressOf(on.arbiter);
  await on.market.connect(on.operator).setAccepted(on.operator, [arbiter, token], true);
  const judge = { arbiter, arbiterData: panelHash(panel), arbiterFee: fee, token };
  const request = on.request({ ...judge, maxPrice: 1000n, challengeWindow: 600, arbiterWindow: 1000 });
  const offer = on.offer(judge);
  await matchJob(on, { request, offers: [offer] });
  const matchedAt = await time.latest();
  const terms: Terms = termsFor(on, request, offer);
  const claim: Claim = { resultHash: hex("result"), resultBytes: 512n, charge: CLAIMED };
  await time.setNextBlockTimestamp(matchedAt + 50);
  await on.market.connect(on.nodeKey).submit(terms, claim, "0x");
  await on.market.connect(on.requester).dispute(terms, claim);
  return { ...on, panel, terms, claim, job: jobId(on, request), disputedAt: await time.latest() };
}
export type Dispute = Awaited<ReturnType<typeof disputeBefore>>;

export const disputed = async () => disputeBefore(await juryMarket());

export function jurorAt(on: JuryMarket, i: number): Actor {
  const juror = on.jurors[i];
  if (juror === undefined) throw new Error(`There is no juror ${i}.`);
  return juror;
}

interface VoteOptions {
  claim?: Claim;
  replica?: number;
  job?: string;
}

/** What `juror` signs to give the operator `award`. */
export async function signVote(on: Dispute, juror: Actor, award: bigint, options: VoteOptions = {}): Promise<Hex> {
  const { claim = on.claim, replica = 0, job = on.job } = options;
  const data = voteTypedData(
    { chainId: CHAIN_ID, jury: on.addresses.jury },
    { jobId: job as JobId, replica, claim, award },
  );
  return (await juror.signTypedData(data.domain, { Vote: [...data.types.Vote] }, data.message)) as Hex;
}

/** Evidence with the votes of the jurors with these numbers. */
export async function evidence(on: Dispute, award: bigint, voters: number[], panel = on.panel): Promise<Hex> {
  const votes = new Map<Address, Hex>();
  for (const i of voters) votes.set(addressOf(jurorAt(on, i)), await signVote(on, jurorAt(on, i), award));
  return juryEvidence(panel, award, votes);
}

export async function carryOut(on: Dispute, award: bigint, voters: number[]) {
  return on.jury.connect(on.stranger).carryOut(on.terms, on.claim, await evidence(on, award, voters));
}
