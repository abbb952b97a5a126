import { bytes32Schema } from "@berth/protocol";
import { z } from "zod";

/** What lists have in common. */
export const paging = {
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(500).optional(),
};
export const jobParams = z.strictObject({ jobId: bytes32Schema });
/** Addresses of gateways: programs will fetch from there. */
export const sourcesSchema = z
  .array(z.url({ protocol: /^https?$/ }).max(512))
  .max(8)
  .default([]);
