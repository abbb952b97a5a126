import { z } from "zod";
import { slurmSchema } from "./slurm.ts";

/** What runs the jobs. A bare name stands for that engine with its defaults. */
export const engineSchema = z.preprocess(
  (value) => (typeof value === "string" && /^[a-z]+$/.test(value) ? { type: value } : value),
  z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("podman") }),
    z.strictObject({ type: z.literal("bubblewrap") }),
    z.strictObject({ type: z.literal("slurm"), slurm: slurmSchema }),
  ]),
);

export type EngineConfig = z.infer<typeof engineSchema>;
