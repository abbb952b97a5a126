import { z } from "zod";
import { cdiName } from "../engine/cdi.ts";
import { short } from "./fields.ts";

/** The GPUs that jobs may have. */
export const gpusSchema = z.strictObject({
  /** CDI names like `nvidia.com/gpu=0`, or `auto`: all that this machine's CDI files name. */
  devices: z.union([z.literal("auto"), z.array(z.string().regex(cdiName, "must be a CDI name")).max(64)]).default([]),
  /** What offers call them, where `offers.gpuModel` says nothing. */
  model: short.default(""),
});
