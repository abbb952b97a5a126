import { type Address, MODE, type Request, type RequestFlaw, ZERO_ADDRESS } from "@berth/protocol";

/** A rule of what makes a request sound, as members to replace in any sound batch request with a bond of 1,000. */
export interface SoundVector {
  rule: string;
  /** What is named when the rule is broken. */
  field: RequestFlaw["field"];
  /** Keeps the rule to the unit. */
  inside: Partial<Request>;
  /** Breaks the rule by one unit, and no rule that is asked before it. */
  outside: Partial<Request>;
}

const judge: Address = `0x${"9".repeat(40)}`;
const first: Address = `0x${"0".repeat(39)}1`;
const year = 366 * 86_400;
const lease = { mode: MODE.lease, heartbeatSeconds: 60, noticeSeconds: 60 };
const disputable = { arbiter: judge, arbiterWindow: 1, challengeWindow: 1 };
/** Nobody has money at these accounts. */
const free = { maxPrice: 0n, matcherTip: 0n };

/** Every rule, in the order in which the contract asks. Held against `Fit.requireSound` and against `requestFlaw`. */
export const soundVectors: SoundVector[] = [
  {
    rule: "there is a requester",
    field: "requester",
    inside: { requester: first, payer: first, ...free },
    outside: { requester: ZERO_ADDRESS },
  },
  { rule: "somebody runs it", field: "replicas", inside: { replicas: 1 }, outside: { replicas: 0 } },
  {
    rule: "the price holds the tip",
    field: "matcherTip",
    inside: { maxPrice: 7n, matcherTip: 7n },
    outside: { maxPrice: 7n, matcherTip: 8n },
  },
  {
    rule: "a tenth of the deposit compensates",
    field: "compensationBps",
    inside: { compensationBps: 1000 },
    outside: { compensationBps: 1001 },
  },
  {
    rule: "a bounty is a tenth of the bond",
    field: "bounty",
    inside: { bond: 1000n, bounty: 100n },
    outside: { bond: 1000n, bounty: 101n },
  },
  {
    rule: "the tenth is rounded down",
    field: "bounty",
    inside: { bond: 1009n, bounty: 100n },
    outside: { bond: 1009n, bounty: 101n },
  },
  {
    rule: "a result is waited for a year",
    field: "submitWindow",
    inside: { submitWindow: year },
    outside: { submitWindow: year + 1 },
  },
  {
    rule: "also in a lease",
    field: "submitWindow",
    inside: { ...lease, submitWindow: year },
    outside: { ...lease, submitWindow: year + 1 },
  },
  {
    rule: "a heartbeat is waited for a year",
    field: "heartbeatSeconds",
    inside: { ...lease, heartbeatSeconds: year },
    outside: { ...lease, heartbeatSeconds: year + 1 },
  },
  {
    rule: "also in a batch job, which has none",
    field: "heartbeatSeconds",
    inside: { heartbeatSeconds: year },
    outside: { heartbeatSeconds: year + 1 },
  },
  {
    rule: "a notice lasts a year",
    field: "noticeSeconds",
    inside: { ...lease, noticeSeconds: year },
    outside: { ...lease, noticeSeconds: year + 1 },
  },
  {
    rule: "also in a batch job, which has none",
    field: "noticeSeconds",
    inside: { noticeSeconds: year },
    outside: { noticeSeconds: year + 1 },
  },
  {
    rule: "a run ends in the submit window",
    field: "submitWindow",
    inside: { submitWindow: 300, maxSeconds: 300 },
    outside: { submitWindow: 300, maxSeconds: 301 },
  },
  {
    rule: "a node declines in the submit window",
    field: "acceptWindow",
    inside: { submitWindow: 300, acceptWindow: 300 },
    outside: { submitWindow: 300, acceptWindow: 301 },
  },
  {
    rule: "a verifier has time",
    field: "arbiterWindow",
    inside: { verifier: judge, arbiterWindow: 1 },
    outside: { verifier: judge, arbiterWindow: 0 },
  },
  {
    rule: "without a verifier or an arbiter nobody needs time",
    field: "arbiterWindow",
    inside: { arbiterWindow: 0, challengeWindow: 0, arbiterFee: 1001n },
    outside: { verifier: judge, arbiterWindow: 0, challengeWindow: 0, arbiterFee: 1001n },
  },
  {
    rule: "a requester has time to dispute",
    field: "challengeWindow",
    inside: { ...disputable, challengeWindow: 1 },
    outside: { ...disputable, challengeWindow: 0 },
  },
  {
    rule: "an arbiter has time",
    field: "arbiterWindow",
    inside: { ...disputable, arbiterWindow: 1 },
    outside: { ...disputable, arbiterWindow: 0 },
  },
  {
    rule: "the bond pays the arbiter",
    field: "arbiterFee",
    inside: { ...disputable, bond: 1000n, arbiterFee: 1000n },
    outside: { ...disputable, bond: 1000n, arbiterFee: 1001n },
  },
  {
    rule: "a lease has heartbeats",
    field: "heartbeatSeconds",
    inside: { ...lease, heartbeatSeconds: 1, acceptWindow: 0 },
    outside: { ...lease, heartbeatSeconds: 0, acceptWindow: 0 },
  },
  {
    rule: "a node declines a lease before its silence tells",
    field: "acceptWindow",
    inside: { ...lease, acceptWindow: 120 },
    outside: { ...lease, acceptWindow: 121 },
  },
  {
    rule: "no verifier judges a lease",
    field: "verifier",
    inside: { ...lease, verifier: ZERO_ADDRESS },
    outside: { ...lease, verifier: first, arbiterWindow: 1 },
  },
  {
    rule: "no arbiter judges a lease",
    field: "arbiter",
    inside: { ...lease, arbiter: ZERO_ADDRESS },
    outside: { ...lease, ...disputable, arbiter: first },
  },
  {
    rule: "a lease runs past its submit window",
    field: "acceptWindow",
    inside: { ...lease, submitWindow: 0, maxSeconds: year, acceptWindow: 1 },
    outside: { ...lease, submitWindow: 0, maxSeconds: year, acceptWindow: 121 },
  },
];
