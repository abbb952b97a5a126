import { readFile, writeFile } from "node:fs/promises";
import { MarketError } from "@berth/protocol";
import { handleText, type Tpm2Config } from "./tpm2-config.ts";
import { findOrMakeKey, type InfoLog, readPublic } from "./tpm2-key.ts";
import { tpmTools, withScratch } from "./tpm2-tools.ts";

/** What a node shows to an authority. Nothing of it is secret. */
export interface TpmKeys {
  /** DER, as stored in the TPM; some makers pad it. */
  ekCertificate: Uint8Array;
  /** TPMT_PUBLIC of the endorsement key. */
  ekPublic: Uint8Array;
  /** TPMT_PUBLIC of the attestation key. */
  akPublic: Uint8Array;
}

/** A secret that only the TPM with both keys can open: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. */
export interface Credential {
  idObject: Uint8Array;
  encryptedSecret: Uint8Array;
}

interface Context {
  log: InfoLog;
  signal?: AbortSignal;
}

/** Reads the TPM's keys; makes the attestation key at the first call. Throws TPM_NO_EK_CERTIFICATE and TPM_ errors. */
export async function readTpmKeys(config: Tpm2Config, { log, signal }: Context): Promise<TpmKeys> {
  const tools = tpmTools(config.tcti, signal);
  const { publicArea: akPublic } = await findOrMakeKey(tools, config, log);
  const ekPublic = await readPublic(tools, handleText(config.ekHandle));
  return withScratch(async (path) => {
    try {
      await tools.run("nvread", [handleText(config.ekCertIndex), "-o", path("certificate")]);
    } catch (cause) {
      signal?.throwIfAborted();
      throw new MarketError("TPM_NO_EK_CERTIFICATE", "The TPM holds no certificate of its endorsement key.", {
        hint: "Set `ekCertIndex` where the maker keeps it, or make the emulator with --create-ek-cert.",
        cause,
      });
    }
    return { ekCertificate: await readFile(path("certificate")), ekPublic, akPublic };
  });
}

/**
 * Opens an authority's challenge. The TPM does so only if the attestation key whose name is in the challenge lives
 * beside the endorsement key it was encrypted to. Throws TPM_COMMAND_FAILED otherwise.
 */
export async function activateCredential(
  config: Tpm2Config,
  { idObject, encryptedSecret }: Credential,
  { signal }: Context,
): Promise<Uint8Array> {
  const tools = tpmTools(config.tcti, signal);
  return withScratch(async (path) => {
    // tpm2-tools put a magic number and a version in front.
    const header = Buffer.from("badcc0de00000001", "hex");
    await writeFile(path("credential"), Buffer.concat([header, idObject, encryptedSecret]));
    await tools.run("startauthsession", ["--policy-session", "-S", path("session")]);
    try {
      await tools.run("policysecret", ["-S", path("session"), "-c", "e"]);
      await tools.run("activatecredential", [
        ...["-c", handleText(config.akHandle), "-C", handleText(config.ekHandle), "-P", `session:${path("session")}`],
        ...["-i", path("credential"), "-o", path("secret")],
      ]);
    } finally {
      await tpmTools(config.tcti).run("flushcontext", [path("session")]);
    }
    return readFile(path("secret"));
  });
}
