import type { BlockRef, FollowedBlock, FollowerStore, FollowStep } from "@berth/chain";

/** A follower's consumer in memory that checks the order of steps. */
export interface FollowerLog extends FollowerStore {
  readonly blocks: FollowedBlock[];
  readonly steps: FollowStep[];
  /** All logs seen, as `hash:index`. */
  logs(): string[];
  /** Resolves once the newest applied block has this hash. */
  reached(hash: string): Promise<void>;
  /** Asked before (`committed` false) and after a step is written; a throw is a crash at that point. */
  crash: (committed: boolean) => void;
}

export function followerLog(keep = 128): FollowerLog {
  const waiters = new Map<string, () => void>();
  const log: FollowerLog = {
    blocks: [],
    steps: [],
    crash: () => undefined,
    recentBlocks: () => log.blocks.slice(-keep).reverse().map(refOf),
    logs: () => log.blocks.flatMap((block) => block.logs.map((item) => `${item.blockHash}:${item.logIndex}`)),
    reached(hash) {
      if (log.blocks.at(-1)?.hash === hash) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      waiters.set(hash, resolve);
      return promise;
    },
    async apply(step) {
      log.crash(false);
      log.steps.push(step);
      if (step.type === "rollback") {
        const at = log.blocks.findIndex((block) => block.hash === step.to.hash);
        if (at < 0) throw new Error(`rolled back to block ${step.to.number}, which is not known`);
        if (at === log.blocks.length - 1) throw new Error("rolled back nothing");
        log.blocks.length = at + 1;
      } else {
        for (const block of step.blocks) {
          const before = log.blocks.at(-1);
          if (before !== undefined && block.number <= before.number)
            throw new Error(`block ${block.number} came twice`);
          if (before?.number === block.number - 1 && before.hash !== block.parentHash) throw new Error("broken chain");
          log.blocks.push(block);
        }
      }
      log.crash(true);
      const newest = log.blocks.at(-1)?.hash ?? "";
      waiters.get(newest)?.();
      waiters.delete(newest);
    },
  };
  return log;
}

function refOf({ number, hash }: BlockRef): BlockRef {
  return { number, hash };
}
