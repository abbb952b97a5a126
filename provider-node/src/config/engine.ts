import { z } from "zod";
import { slurmSchema } from "./slurm.ts";

const NO_DOCKER =
  'Docker runs no jobs here: its sandbox is weaker, and its daemon not the node\'s. Install podman beside it and use "podman"';

/** What runs the jobs. A bare name stands for that engine with its defaults. */
export const engineSchema = z.preprocess(
  (value) => (typeof value === "string" && /^[a-z]+$/.test(value) ? { type: value } : value),
  z.discriminatedUnion(
    "type",
    [
      z.strictObject({ type: z.literal("podman") }),
      z.strictObject({ type: z.literal("bubblewrap") }),
      z.strictObject({ type: z.literal("slurm"), slurm: slurmSchema }),
    ],
    {
      error: ({ input }) => ((input as { type?: unknown } | undefined)?.type === "docker" ? NO_DOCKER : undefined),
    },
  ),
);

export type EngineConfig = z.infer<typeof engineSchema>;
