import { z } from "zod";

const persistentHandle = z.int().min(0x81000000).max(0x81ffffff);

/** A TPM 2.0: a chip, a virtual machine's, or an emulator. */
export const tpm2ConfigSchema = z.strictObject({
  type: z.literal("tpm2"),
  /** How tpm2-tools reach it: `device:/dev/tpmrm0`, `swtpm:path=/run/tpm/sock`, … */
  tcti: z.string().min(1),
  /** Folder of the attestation key's public part, the event log and the endorsement. Made when missing. */
  stateDir: z.string().startsWith("/"),
  /**
   * The register that images are measured into. Nobody can reset it but a reset of the TPM. It must be zero at boot and
   * used by nothing else; shim measures into 14 on many UEFI machines, systemd into 11, 12, 13 and 15.
   */
  pcr: z.int().min(11).max(15).default(14),
  /** Registers quoted besides `pcr`: by default what the firmware and the boot loader measured. */
  quotedPcrs: z.array(z.int().min(0).max(23)).max(24).default([0, 1, 2, 3, 4, 5, 6, 7]),
  /** Where the attestation key is kept inside the TPM. */
  akHandle: persistentHandle.default(0x81018001),
  /** Where the endorsement key is; the default is the TCG's place for RSA 2048. */
  ekHandle: persistentHandle.default(0x81010001),
  /** NV index of the endorsement key's certificate; the default is the TCG's place for RSA 2048. */
  ekCertIndex: z.int().min(0x01000000).max(0x01ffffff).default(0x01c00002),
});
export type Tpm2Config = z.infer<typeof tpm2ConfigSchema>;

/** As tpm2-tools take a handle or an index. */
export function handleText(handle: number): string {
  return `0x${handle.toString(16).padStart(8, "0")}`;
}
