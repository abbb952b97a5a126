import { z } from "zod";

/** What the node remembers. */
export const journalSchema = z.strictObject({
  /** Days after which a job that is over is forgotten: what happened, its transactions, and what `jobs` and `explain` say of it. */
  retentionDays: z.int().min(1).max(36_500).default(90),
});
