import { z } from "zod";
import { url } from "./fields.ts";

const common = {
  /** Longer than this, and it has not answered. */
  deadlineMs: z.int().min(10).max(60_000).default(3000),
  /** What counts when there is no answer. Absent: a posted request is refused and a match taken, as giving back may cost. */
  onFailure: z.enum(["take", "refuse"]).optional(),
};

/** A program or a server of the operator that may refuse a job. It is asked with JSON on stdin, or in a POST. */
export const hookSchema = z.union([
  z.strictObject({
    /** Absolute path of the program, then its arguments; no shell is involved. Exit code 0 takes, 1 refuses. */
    exec: z.tuple([z.string().startsWith("/", "must be an absolute path")], z.string()),
    ...common,
  }),
  /** Answers 200 with `{"take": true}` or `{"take": false, "reason": "…"}`. */
  z.strictObject({ url, ...common }),
]);

export type HookConfig = z.infer<typeof hookSchema>;
