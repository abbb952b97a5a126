import { uintSchema } from "@berth/protocol";
import { z } from "zod";

export const url = z.url({ protocol: /^https?$/, error: "must be an http(s) URL" });
/** Token units. YAML has whole numbers, so a safe one is taken for its decimal string. */
export const amount = z.preprocess(
  (value) => (typeof value === "number" && Number.isSafeInteger(value) ? String(value) : value),
  uintSchema(128),
);
export const seconds = z.int().min(0).max(0xffff_ffff);
export const short = z
  .string()
  .max(32)
  .regex(/^[\x20-\x7e]*$/, "must be printable ASCII");
export const path = z.string().min(1);
