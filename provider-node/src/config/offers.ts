import { addressSchema, traitNames } from "@berth/protocol";
import { z } from "zod";
import { amount, seconds, short } from "./fields.ts";

/** What the node asks for its work, and what it takes on. */
export const offersSchema = z.strictObject({
  /** ERC-20 that the node is paid in. Absent: the node makes no offers. */
  token: addressSchema.optional(),
  /** Token units per thousandth of a core and second, scaled by 1e18; the three below likewise per MiB or GPU. */
  cpuRateX18: amount.default(0n),
  memoryRateX18: amount.default(0n),
  diskRateX18: amount.default(0n),
  gpuRateX18: amount.default(0n),
  /** Token units earned by any result. */
  baseCharge: amount.default(0n),
  /** The most that all jobs together may use. Absent: what this machine has, less a reserve. */
  capacity: z
    .strictObject({
      cpuMilli: z.int().min(10),
      memoryMiB: z.int().min(8),
      diskMiB: z.int().min(1),
    })
    .optional(),
  maxActive: z.int().min(1).max(1000).default(16),
  maxSeconds: seconds.min(1).default(86_400),
  minSubmitMargin: seconds.default(60),
  maxSettleSeconds: seconds.default(7 * 86_400),
  maxBond: amount.default(0n),
  maxCompensationBps: z.int().min(0).max(1000).default(0),
  ttlSeconds: z.int().min(10).default(600),
  refreshSeconds: z.int().min(1).default(120),
  region: short.default(""),
  gpuModel: short.default(""),
  /** Traits never to be claimed, though this machine has them. */
  withhold: z.array(z.enum(traitNames)).default([]),
});
