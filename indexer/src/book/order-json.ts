import { addressSchema, type Hex } from "@berth/protocol";
import { z } from "zod";

/** A key's signature has 65 bytes; what wallets give for several owners may be longer. */
const MAX_SIGNATURE_BYTES = 2048;

/** Of any order, wherever it comes from: it goes to the chain as it is, so it must fit into a transaction with all others. */
export const signatureSchema = z
  .string()
  .max(2 + 2 * MAX_SIGNATURE_BYTES, { abort: true, error: `must have ${MAX_SIGNATURE_BYTES} bytes at most` })
  .regex(/^0x([0-9a-fA-F]{2})*$/, "must be 0x and an even number of hexadecimal digits")
  .transform((text) => text.toLowerCase() as Hex);

/** The list that a request's `operators` commits to. */
export const operatorListSchema = z.array(addressSchema).min(1).max(500);
