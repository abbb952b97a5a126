import type { providerStakingAbi } from "@berth/protocol";
import type { DecodeEventLogReturnType } from "viem";
import { add } from "./money.ts";
import { noExit, noStake, put, type Storage } from "./storage.ts";

export function replayStaking(storage: Storage, event: DecodeEventLogReturnType<typeof providerStakingAbi>): Storage {
  switch (event.eventName) {
    case "Staked":
      return move(storage, event.args.operator, event.args.amount, 0n);
    case "ExitRequested": {
      const { operator, amount, readyAt } = event.args;
      const all = (storage.exits[operator] ?? noExit).amount + amount;
      return put(move(storage, operator, -amount, 0n), "exits", operator, { amount: all, readyAt });
    }
    case "ExitCancelled":
      return put(move(storage, event.args.operator, event.args.amount, 0n), "exits", event.args.operator, noExit);
    case "Exited":
      return put(storage, "exits", event.args.operator, noExit);
    case "Locked":
      return move(storage, event.args.operator, -event.args.amount, event.args.amount);
    case "Unlocked":
      return move(storage, event.args.operator, event.args.amount, -event.args.amount);
    case "Slashed":
      return move(storage, event.args.operator, event.args.bond - event.args.amount, -event.args.bond);
    case "Owed":
      return add(storage, "owed", event.args.account, event.args.amount);
    case "Collected":
      return add(storage, "owed", event.args.account, -event.args.amount);
  }
}

function move(storage: Storage, operator: string, free: bigint, locked: bigint): Storage {
  const row = storage.stakes[operator] ?? noStake;
  return put(storage, "stakes", operator, { free: row.free + free, locked: row.locked + locked });
}
