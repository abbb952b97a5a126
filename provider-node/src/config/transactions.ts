import { z } from "zod";
import { amount, seconds } from "./fields.ts";

/** What the node spends on gas, and when it collects what it has earned. */
export const transactionsSchema = z.strictObject({
  /** wei of gas per UTC day for what can wait: accepting and settling. Results and refusals, which a bond hangs on, are sent all the same. */
  dailyGasBudget: amount.optional(),
  /** wei per gas; never more than this is paid. */
  maxFeePerGas: amount.default(500n * 10n ** 9n),
  settle: z
    .strictObject({
      /** Finalize this node's results when their windows are over; otherwise somebody else has to. */
      enabled: z.boolean().default(true),
      /** How long a result that is due may wait for others, to share a transaction with them. */
      holdSeconds: seconds.default(300),
      /** The most results in one transaction. */
      maxItems: z.int().min(1).max(100).default(16),
    })
    .prefault({}),
});
