import type { Misfit } from "@berth/protocol";

/** How a misfit reads: what the offers have or do, and in which unit. */
const words: Record<string, { says: (wanted: string) => string; best?: "largest" | "smallest"; lists?: true }> = {
  cpuMilli: { says: (wanted) => `have less CPU than ${cores(wanted)} cores`, best: "largest" },
  memoryMiB: { says: (wanted) => `have less memory than ${wanted} MiB`, best: "largest" },
  diskMiB: { says: (wanted) => `have less disk than ${wanted} MiB`, best: "largest" },
  gpus: { says: (wanted) => (wanted === "1" ? "have no GPU" : `have fewer than ${wanted} GPUs`), best: "largest" },
  maxSeconds: { says: (wanted) => `take no job of ${wanted} s`, best: "largest" },
  submitWindow: { says: (wanted) => `want more time than ${wanted} s to hand in a result`, best: "smallest" },
  challengeWindow: { says: (wanted) => `do not wait ${wanted} s for their money`, best: "largest" },
  bond: { says: (wanted) => `put up no bond of ${wanted} token units`, best: "largest" },
  compensationBps: { says: (wanted) => `accept no compensation of ${wanted} basis points`, best: "largest" },
  price: { says: (wanted) => `cost more than ${wanted}`, best: "smallest" },
  traits: { says: (wanted) => `lack a trait: ${wanted}` },
  token: { says: () => "want another token" },
  operators: { says: () => "are of other operators than those named" },
  requester: { says: () => "serve another requester only" },
  expiresAt: { says: () => "have expired" },
  region: { says: (wanted) => `have another region than ${wanted}`, lists: true },
  gpuModel: { says: (wanted) => `have another GPU model than ${wanted}`, lists: true },
  verifier: { says: () => "accept another verifier" },
  arbiter: { says: () => "accept another arbiter" },
};

/** What an offer lacks; `size` orders the values of one field where `has` is written for people. */
export interface Lack extends Misfit {
  size?: bigint;
}

/**
 * One sentence on why nothing fits: "2 offers, 0 fit: 2 have less memory than 200000 MiB (largest 4096)". Each offer
 * counts once, under its first reason. Pure.
 */
export function explainMisfits(lacks: readonly (readonly Lack[])[]): string {
  const seen = `${lacks.length} offer${lacks.length === 1 ? "" : "s"}`;
  const fits = lacks.filter((reasons) => reasons.length === 0).length;
  const groups = Map.groupBy(
    lacks.flatMap((reasons) => reasons[0] ?? []),
    (lack) => lack.field,
  );
  if (groups.size === 0) return lacks.length === 0 ? "there are no offers at all" : `${seen}, ${fits} fit`;
  const reasons = [...groups].sort((a, b) => b[1].length - a[1].length).map(([field, group]) => reason(field, group));
  return `${seen}, ${fits} fit: ${reasons.join("; ")}`;
}

function reason(field: string, group: readonly Lack[]): string {
  const [first] = group as [Lack];
  const word = words[field] ?? { says: (wanted: string) => `do not fit in ${field} (${wanted})` };
  const says = `${group.length} ${word.says(first.wanted)}`;
  if (word.lists) return `${says} (found ${namesIn(group)})`;
  return word.best === undefined ? says : `${says} (${word.best} ${shown(field, extreme(group, word.best))})`;
}

/** At most five of them: there may be as many as offers. */
function namesIn(group: readonly Lack[]): string {
  const names = [...new Set(group.map(({ has }) => has || "none"))].sort();
  return names.length > 5 ? `${names.slice(0, 5).join(", ")}, …` : names.join(", ");
}

function extreme(group: readonly Lack[], best: "largest" | "smallest"): string {
  const size = (lack: Lack) => lack.size ?? BigInt(lack.has);
  const sorted = [...group].sort((a, b) => (size(a) < size(b) ? -1 : 1));
  return (best === "largest" ? sorted.at(-1) : sorted[0])?.has ?? "";
}

function shown(field: string, value: string): string {
  return field === "cpuMilli" ? cores(value) : value;
}

function cores(milli: string): string {
  return String(Number(milli) / 1000);
}
