import { bytes32Schema } from "@berth/protocol";
import { z } from "zod";
import { finalities } from "../view.ts";

/** What lists have in common. */
export const paging = {
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(500).optional(),
};
/** Of what the chain says, and not of orders: those prove themselves. */
export const finality = z
  .enum(finalities)
  .default("latest")
  .meta({ description: "As of the newest indexed block, or of the chain's safe or finalized one" });
/** Unix seconds. */
export const seconds = z.coerce
  .number()
  .int()
  .min(0)
  .max(2 ** 40);
export const jobParams = z.strictObject({ jobId: bytes32Schema });
/** Addresses of gateways, in plain characters: programs will fetch from there, and a database keeps them. */
export const sourcesSchema = z
  .array(
    z
      .url({ protocol: /^https?$/ })
      .max(512)
      .regex(/^[!-~]*$/),
  )
  .max(8)
  .default([]);
