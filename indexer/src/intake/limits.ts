import type { GateSize } from "./gate.ts";

/** What the intake takes of anybody. */
export interface IntakeLimits {
  /** Orders that are verified and stored at a time, and that wait for it. */
  gate: GateSize;
  /** Open offers of one operator: without stake in a token of the deployment, and with. */
  offersPerOperator: { plain: number; staked: number };
  /** Open signed requests that one payer pays for: without the money for the next one, and with. */
  requestsPerPayer: { unfunded: number; funded: number };
  /** Longest time that an order may have left. */
  maxOfferSeconds: number;
  maxRequestSeconds: number;
}

const HOUR = 3600;
const DAY = 24 * HOUR;

export const DEFAULT_INTAKE: IntakeLimits = {
  gate: { atWork: 16, waiting: 512 },
  offersPerOperator: { plain: 64, staked: 4096 },
  requestsPerPayer: { unfunded: 5, funded: 200 },
  // An hour more than nodes sign for at most: clocks differ.
  maxOfferSeconds: 7 * DAY + HOUR,
  maxRequestSeconds: 30 * DAY + HOUR,
};
