import { z } from "zod";
import { addressSchema, parseWith } from "./order-json.ts";

/** Where one Berth market lives: the file that every program is pointed at. */
export const deploymentSchema = z.strictObject({
  chainId: z.int().min(1),
  /** Block from which the contracts exist. */
  fromBlock: z.int().min(0),
  identity: addressSchema,
  staking: addressSchema,
  market: addressSchema,
  /** Tokens worth showing by name. */
  tokens: z.array(z.strictObject({ address: addressSchema, symbol: z.string(), decimals: z.int().min(0).max(36) })),
});

export type Deployment = z.infer<typeof deploymentSchema>;

/** Checks a deployment record. Throws DEPLOYMENT_INVALID. */
export function parseDeployment(value: unknown): Deployment {
  return parseWith(deploymentSchema, value, { code: "DEPLOYMENT_INVALID", what: "The deployment record" });
}

/** Deployments on public networks, by chain id. None yet: a devnet writes its own record. */
export const knownDeployments: ReadonlyMap<number, Deployment> = new Map();
