import { MarketError } from "@berth/protocol";

/** One compute node, less what is not offered. */
export interface SlurmNode {
  name: string;
  cpuMilli: number;
  memoryMiB: number;
  gpus: number;
  /** It takes jobs, or will when those that it has end. */
  isUsable: boolean;
}

export interface Partition {
  nodes: SlurmNode[];
  /** The partition's time limit; undefined when there is none. */
  maxSeconds: number | undefined;
}

/** What `sinfo` is asked for each node. */
export const PARTITION_FORMAT = "%N|%c|%m|%T|%G|%l";

/** States in which a node has its share in the offer; any flag, such as `*` for one that does not answer, is against it. */
const USABLE = new Set(["idle", "mixed", "allocated", "completing", "planned", "reserved"]);

/** Reads the lines of `sinfo -N` in that format. Pure. */
export function readPartition(text: string, { reserveMiB, gres }: { reserveMiB: number; gres: string }): Partition {
  const rows = text.split("\n").flatMap((line) => {
    const [name = "", cpus = "", memory = "", state = "", generic = "", limit = ""] = line.trim().split("|");
    return name === "" ? [] : [{ name, cpus, memory, state, generic, limit }];
  });
  const nodes = rows.map(({ name, cpus, memory, state, generic }) => ({
    name,
    cpuMilli: Number(cpus) * 1000,
    memoryMiB: Math.max(0, Number(memory.replace("+", "")) - reserveMiB),
    gpus: gpusIn(generic, gres),
    isUsable: USABLE.has(state),
  }));
  return { nodes, maxSeconds: secondsOf(rows[0]?.limit ?? "infinite") };
}

/** What all usable nodes give together, and the most that one job can have. Pure. */
export function capacityIn({ nodes }: Partition) {
  const usable = nodes.filter(({ isUsable, memoryMiB }) => isUsable && memoryMiB > 0);
  const sum = (of: (node: SlurmNode) => number) => usable.reduce((total, node) => total + of(node), 0);
  return {
    cpuMilli: sum(({ cpuMilli }) => cpuMilli),
    memoryMiB: sum(({ memoryMiB }) => memoryMiB),
    gpus: sum(({ gpus }) => gpus),
  };
}

/**
 * Why no node of the partition could ever run this; undefined when one can. Pure. A node that is down just now counts:
 * the job waits for it.
 */
export function misfit(
  { nodes, maxSeconds }: Partition,
  wanted: { cpuMilli: number; memoryMiB: number; gpus: number; seconds: number },
): string | undefined {
  const fits = nodes.some(
    ({ cpuMilli, memoryMiB, gpus }) =>
      cpuMilli >= wanted.cpuMilli && memoryMiB >= wanted.memoryMiB && gpus >= wanted.gpus,
  );
  if (!fits) return "No single node of the partition is large enough, and a job runs on one node.";
  if (maxSeconds !== undefined && wanted.seconds > maxSeconds)
    return `With its margin it needs ${wanted.seconds} s; the partition's time limit is ${maxSeconds} s.`;
  return undefined;
}

/** `[days-]hours:minutes:seconds`, `minutes:seconds` or `minutes`, as Slurm writes a time limit. */
function secondsOf(limit: string): number | undefined {
  if (["infinite", "n/a", "UNLIMITED"].includes(limit)) return undefined;
  const match = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(limit);
  if (!match) throw new MarketError("ENGINE_FAILED", `Slurm gave "${limit}" as a time limit.`);
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
  ];
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}

/** `gpu:4` or `gpu:a100:4(S:0-1),shard:8`. */
function gpusIn(generic: string, gres: string): number {
  return generic
    .replace(/\([^)]*\)/g, "")
    .split(",")
    .map((part) => part.split(":"))
    .filter(([name]) => name === gres)
    .reduce((total, parts) => total + Number(parts.at(-1) ?? 0), 0);
}
