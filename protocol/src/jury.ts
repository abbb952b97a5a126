import { encodeAbiParameters, keccak256 } from "viem";
import type { Claim } from "./orders.ts";
import { claimHash } from "./terms.ts";
import type { Address, Hex, JobId } from "./units.ts";

/** Who judges a disputed replica. */
export interface Panel {
  /** Ascending, each once: `sortedJurors`. Accounts that sign with their own key. */
  jurors: readonly Address[];
  /** Votes for the same award; more than half of the jurors. A uint16. */
  needed: number;
  stakeToken: Address;
  /** Token units that a juror has staked when its vote counts, and the most it can lose in one dispute. */
  minStake: bigint;
}

/** The jury contract that votes are bound to. */
export interface JuryDomain {
  chainId: number;
  jury: Address;
}

/** What a juror says: token units for the operator of a disputed replica, at most what it claimed. */
export interface Vote {
  jobId: JobId;
  replica: number;
  claim: Claim;
  award: bigint;
}

const panelType = {
  type: "tuple",
  components: [
    { name: "jurors", type: "address[]" },
    { name: "needed", type: "uint16" },
    { name: "stakeToken", type: "address" },
    { name: "minStake", type: "uint128" },
  ],
} as const;

const rulingType = {
  type: "tuple",
  components: [
    { ...panelType, name: "panel" },
    { name: "award", type: "uint128" },
    { name: "signatures", type: "bytes[]" },
  ],
} as const;

/** Jurors in the order in which a panel lists them. */
export function sortedJurors(jurors: readonly Address[]): Address[] {
  return [...jurors].sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
}

/** `arbiterData` of both orders. */
export function panelHash(panel: Panel): Hex {
  return keccak256(encodeAbiParameters([panelType], [panel]));
}

/** What a juror signs: pass it to `signTypedData`. */
export function voteTypedData({ chainId, jury }: JuryDomain, { jobId, replica, claim, award }: Vote) {
  return {
    domain: { name: "Berth Jury", version: "1", chainId, verifyingContract: jury },
    types: {
      Vote: [
        { name: "jobId", type: "bytes32" },
        { name: "replica", type: "uint16" },
        { name: "claimHash", type: "bytes32" },
        { name: "award", type: "uint128" },
      ],
    },
    primaryType: "Vote",
    message: { jobId, replica, claimHash: claimHash(claim), award },
  } as const;
}

/** Evidence for `JuryArbiter.carryOut`: the votes for one award that were collected, by juror. */
export function juryEvidence(panel: Panel, award: bigint, votes: ReadonlyMap<Address, Hex>): Hex {
  const signatures = panel.jurors.map((juror) => votes.get(juror) ?? "0x");
  return encodeAbiParameters([rulingType], [{ panel, award, signatures }]);
}
