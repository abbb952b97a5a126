/** Seconds after a free decline in which the market lets another one cost 1 % of the deposit, out of the bond. */
const FREE_DECLINE_EVERY = 3600;

/** Gives the market's one free decline an hour to one replica at a time, also while none of them is on chain yet. */
export interface FreeDecline {
  /**
   * May `replica` be given back for nothing? Whoever is told so has it for an hour.
   * @param declinedAt unix seconds of the last free decline that the market knows; 0 when there was none
   */
  claim(replica: string, declinedAt: number, now: number): boolean;
}

export function createFreeDecline(): FreeDecline {
  let held: { replica: string; at: number } | undefined;
  return {
    claim(replica, declinedAt, now) {
      if (held?.replica === replica) return true;
      if (declinedAt !== 0 && now < declinedAt + FREE_DECLINE_EVERY) return false;
      if (held !== undefined && now < held.at + FREE_DECLINE_EVERY) return false;
      held = { replica, at: now };
      return true;
    },
  };
}
