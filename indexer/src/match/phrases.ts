import { maskToTraits, type Request } from "@berth/protocol";
import { hexToString } from "viem";
import type { Reason } from "./explain.ts";

/** A reason in words, like "4 have less memory than 200000 MiB (largest 4096)". */
export function phraseOf(reason: Reason, request: Request): string {
  const say = PHRASES[reason.field] ?? PHRASES[reason.field.replace("limits.", "")];
  if (say !== undefined) return say(reason, request);
  return `${reason.offers} ${verb(reason, "differs", "differ")} in ${reason.field} (wanted ${reason.wanted}, found ${reason.best})`;
}

type Phrase = (reason: Reason, request: Request) => string;

const less =
  (noun: string, unit = ""): Phrase =>
  (reason) =>
    `${reason.offers} ${verb(reason, "has", "have")} less ${noun} than ${reason.wanted}${unit} (largest ${reason.best})`;
const other =
  (noun: string, show: (value: string) => string = (value) => value): Phrase =>
  (reason) =>
    `${reason.offers} ${verb(reason, "has", "have")} another ${noun} than ${show(reason.wanted)} (found ${show(reason.best)})`;
const unaccepted =
  (noun: string): Phrase =>
  (reason) =>
    `${reason.offers} ${verb(reason, "is", "are")} from operators who do not accept the ${noun} ${reason.wanted}`;

const PHRASES: Record<string, Phrase> = {
  cpuMilli: less("CPU", " thousandths of a core"),
  memoryMiB: less("memory", " MiB"),
  diskMiB: less("disk", " MiB"),
  gpus: less("GPUs"),
  "free cpuMilli": less("free CPU", " thousandths of a core"),
  "free memoryMiB": less("free memory", " MiB"),
  "free diskMiB": less("free disk", " MiB"),
  "free gpus": less("free GPUs"),
  maxSeconds: (r) => `${r.offers} ${verb(r, "takes", "take")} no job as long as ${r.wanted} s (longest ${r.best})`,
  traits: (r) => {
    const missing = maskToTraits(BigInt(r.wanted) & ~BigInt(r.best)).join(", ");
    return `${r.offers} ${verb(r, "lacks", "lack")} traits (the closest lacks ${missing || "some without a name"})`;
  },
  region: other("region", readable),
  gpuModel: other("GPU model", readable),
  token: other("token"),
  requester: (r) => `${r.offers} ${verb(r, "serves", "serve")} another requester only`,
  bond: less("maximum bond"),
  maxBond: less("maximum bond"),
  freeStake: less("free stake"),
  minStake: less("stake altogether"),
  maxActive: (r) => `${r.offers} ${verb(r, "runs", "run")} as many replicas as the operator allows (${r.best})`,
  keyValidTo: (r) => `${r.offers} ${verb(r, "has a node key", "have node keys")} that may expire before the job ends`,
  epoch: (r) => `${r.offers} ${verb(r, "was", "were")} withdrawn by the node`,
  key: (r) => `${r.offers} ${verb(r, "is", "are")} signed by a key that the node no longer has`,
  node: (r) => `${r.offers} ${verb(r, "is", "are")} from nodes that are not published`,
  limits: (r) => `${r.offers} ${verb(r, "is", "are")} from nodes whose operator has set no limits`,
  "accepts token": unaccepted("token"),
  "accepts verifier": unaccepted("verifier"),
  "accepts arbiter": unaccepted("arbiter"),
  operators: (r) => `${r.offers} ${verb(r, "is", "are")} from operators whom the request does not list`,
  operator: (r) => `${r.offers} ${verb(r, "is", "are")} from deactivated operators`,
  submitWindow: (r) =>
    `${r.offers} ${verb(r, "needs", "need")} more time to submit than the ${r.wanted} s after the run (least ${r.best})`,
  challengeWindow: (r) =>
    `${r.offers} ${verb(r, "waits", "wait")} less than ${r.wanted} s to be paid (longest ${r.best})`,
  heartbeatSeconds: (r) =>
    `${r.offers} ${verb(r, "takes", "take")} no leases with a heartbeat of ${r.wanted} s (shortest ${r.best})`,
  noticeSeconds: (r) =>
    `${r.offers} ${verb(r, "takes", "take")} no leases with a notice of ${r.wanted} s (longest ${r.best})`,
  replicas: (r) =>
    `${r.wanted} operators are needed and only ${r.best} ${r.best === "1" ? "offers" : "offer"} what fits`,
  maxPrice: (r) => `the cheapest price is ${r.best} token units, above the cap of ${r.wanted}`,
  balance: (r, { payer }) => `the payer ${payer} has ${r.best} token units free in the market and needs ${r.wanted}`,
  openUntil: (r) => `the request was open until ${new Date(Number(r.wanted) * 1000).toISOString()} and has expired`,
  matcher: (r) => `the request names ${r.wanted} as its matcher`,
  paused: () => "the market takes no new jobs at the moment",
  operatorList: () =>
    "the request allows only the operators of a list, and nobody has handed that list in (`operators` of POST /requests)",
  matching: () => "this indexer sends no matches itself",
};

function verb({ offers }: Reason, one: string, many: string): string {
  return offers === 1 ? one : many;
}

/** Left-aligned text in bytes32; several are separated by commas. */
function readable(value: string): string {
  return value
    .split(", ")
    .map((item) => (/^0x0*$/.test(item) ? "none" : hexToString(item as `0x${string}`, { size: 32 })))
    .join(", ");
}
