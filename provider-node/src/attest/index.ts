import { z } from "zod";
import type { Attester, AttesterContext, AttesterProbe } from "./attester.ts";
import { createExecAttester, execConfigSchema } from "./exec.ts";
import { createNoneAttester } from "./none.ts";
import { createTpm2Attester } from "./tpm2.ts";
import { tpm2ConfigSchema } from "./tpm2-config.ts";

export type { Attester, AttesterContext, AttesterProbe } from "./attester.ts";
export { activateCredential, readTpmKeys, type TpmKeys } from "./tpm2-activate.ts";
export { type Tpm2Config, tpm2ConfigSchema } from "./tpm2-config.ts";
export { storeEndorsement } from "./tpm2-endorsement.ts";

/** The `attest` section of a node's configuration. */
export const attesterConfigSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("none") }),
  execConfigSchema,
  tpm2ConfigSchema,
]);
export type AttesterConfig = z.infer<typeof attesterConfigSchema>;

/** Builds the configured attester; touches no device yet. Keep one per node: it is what serialises the use of the TPM. */
export function createAttester(config: AttesterConfig, context: AttesterContext): Attester {
  switch (config.type) {
    case "none":
      return createNoneAttester(context);
    case "exec":
      return createExecAttester(config, context);
    case "tpm2":
      return createTpm2Attester(config, context);
  }
}

/** For `doctor`: tries the configured attester without measuring anything. Safe while the node runs. */
export async function probeAttester(
  config: AttesterConfig,
  context: AttesterContext & { signal?: AbortSignal },
): Promise<AttesterProbe & { type: Attester["type"] }> {
  const attester = createAttester(config, context);
  const { signal } = context;
  return { type: attester.type, ...(await attester.probe(signal ? { signal } : {})) };
}
