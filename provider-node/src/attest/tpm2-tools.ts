import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";

/** One TPM, as tpm2-tools reach it. */
export interface TpmTools {
  /** Runs `tpm2_NAME ARGS` and gives its stdout. Throws TPM_TOOLS_MISSING, TPM_SLOW or TPM_COMMAND_FAILED. */
  run(name: string, args: readonly string[]): Promise<string>;
}

const COMMAND_TIMEOUT_MS = 30_000;

/** @param tcti how to reach the TPM, such as `device:/dev/tpmrm0` or `swtpm:path=/run/tpm/sock` */
export function tpmTools(tcti: string, signal?: AbortSignal): TpmTools {
  return {
    run: async (name, args) => {
      signal?.throwIfAborted();
      const { execa } = await import("execa"); // a node without a TPM starts sooner
      const result = await execa(`tpm2_${name}`, [...args], {
        env: { TPM2TOOLS_TCTI: tcti, TSS2_LOG: "all+none" },
        stdin: "ignore",
        timeout: COMMAND_TIMEOUT_MS,
        reject: false,
        ...(signal && { cancelSignal: signal }),
      });
      signal?.throwIfAborted();
      if (!result.failed) return result.stdout;
      if (result.code === "ENOENT")
        throw new MarketError("TPM_TOOLS_MISSING", `The program tpm2_${name} is not installed.`, {
          hint: "Install the package tpm2-tools.",
        });
      if (result.timedOut)
        throw new MarketError(
          "TPM_SLOW",
          `tpm2_${name} got no answer from the TPM in ${COMMAND_TIMEOUT_MS / 1000} s.`,
          {
            hint: `Check that nothing else holds the TPM at ${tcti}.`,
            retryable: true,
          },
        );
      const said = result.stderr.split("\n").find((line) => line.startsWith("ERROR")) ?? result.shortMessage;
      throw new MarketError("TPM_COMMAND_FAILED", `tpm2_${name} failed: ${said}`, {
        hint: `Check that a TPM 2.0 answers at ${tcti}: TPM2TOOLS_TCTI=${tcti} tpm2_getcap properties-fixed`,
        cause: result,
      });
    },
  };
}

/** Runs `use` with a path-maker for a private folder that is gone afterwards; the tools exchange data by files. */
export async function withScratch<T>(use: (path: (name: string) => string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "berth-tpm-"));
  try {
    return await use((name) => join(folder, name));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
