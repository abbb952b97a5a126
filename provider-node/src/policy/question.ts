import { type Address, digestToCid, type Hex, type JobId, type Spec } from "@berth/protocol";

/** What the operator's hook is asked, as JSON; amounts are decimal text. */
export interface Question {
  version: 1;
  /** `posted`: may the node take this posted request? `match`: may it keep what it was matched to? */
  what: "posted" | "match";
  jobId: JobId;
  requester: Address;
  payer: Address;
  resources: { cpuMilli: number; memoryMiB: number; diskMiB: number; gpus: number };
  maxSeconds: number;
  /** The most that the job earns. */
  price: { token: Address; amount: string };
  /** Token units of this node's stake that it binds. */
  bond: string;
  specHash: Hex;
  /** What the spec can be fetched by. */
  specCid: string;
  /** Null while it is not known: a posted request has only its hash. */
  spec: Spec | null;
}

/** The parts of a question that requests and jobs have alike. */
interface Asked {
  requester: Address;
  payer: Address;
  token: Address;
  specHash: Hex;
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
  maxSeconds: number;
  bond: bigint;
}

export interface QuestionFacts {
  what: Question["what"];
  jobId: JobId;
  /** Token units. */
  price: bigint;
  spec: Spec | null;
}

/** Pure. */
export function questionOf(order: Asked, { what, jobId, price, spec }: QuestionFacts): Question {
  const { requester, payer, token, specHash, cpuMilli, memoryMiB, diskMiB, gpus, maxSeconds, bond } = order;
  return {
    version: 1,
    what,
    jobId,
    requester,
    payer,
    resources: { cpuMilli, memoryMiB, diskMiB, gpus },
    maxSeconds,
    price: { token, amount: String(price) },
    bond: String(bond),
    specHash,
    specCid: digestToCid(specHash),
    spec,
  };
}
