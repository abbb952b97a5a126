import type { Hex } from "@berth/protocol";
import type { StakingEvent } from "../decode/events.ts";
import type { StakeRow } from "../store/tables.ts";
import type { State } from "./state.ts";

export async function projectStaking({ eventName, args }: StakingEvent, state: State): Promise<void> {
  switch (eventName) {
    case "Staked":
      return change((row) => ({ ...row, free: row.free + args.amount }));
    case "ExitRequested":
      return change((row) => ({
        ...row,
        free: row.free - args.amount,
        exiting: row.exiting + args.amount,
        exitReadyAt: args.readyAt,
      }));
    case "ExitCancelled":
      return change((row) => ({ ...row, free: row.free + args.amount, exiting: 0n, exitReadyAt: 0 }));
    case "Exited":
      return change((row) => ({ ...row, exiting: row.exiting - args.amount, exitReadyAt: 0 }));
    case "Locked":
      return change((row) => ({ ...row, free: row.free - args.amount, locked: row.locked + args.amount }));
    case "Unlocked":
      return change((row) => ({ ...row, free: row.free + args.amount, locked: row.locked - args.amount }));
    case "Slashed": {
      const { bond, amount } = args;
      return change((row) => ({ ...row, free: row.free + bond - amount, locked: row.locked - bond }));
    }
    case "Owed":
      return owe(args.account, args.token, args.amount);
    case "Collected":
      return owe(args.account, args.token, -args.amount);
  }

  async function change(next: (row: StakeRow) => StakeRow): Promise<void> {
    const { operator, token } = args as { operator: Hex; token: Hex };
    const row = await state.get("stakes", { operator, token });
    state.put("stakes", next(row ?? { operator, token, free: 0n, locked: 0n, exiting: 0n, exitReadyAt: 0 }));
  }

  /** `amount` (token units) may be negative. */
  async function owe(account: Hex, token: Hex, amount: bigint): Promise<void> {
    const row = await state.get("owed", { account, token });
    state.put("owed", { account, token, amount: (row?.amount ?? 0n) + amount });
  }
}
