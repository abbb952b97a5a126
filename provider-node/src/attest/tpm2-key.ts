import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Hex, MarketError } from "@berth/protocol";
import { concat, sha256 } from "viem";
import { readIfThere, writeDurably } from "./durable-file.ts";
import { handleText, type Tpm2Config } from "./tpm2-config.ts";
import { type TpmTools, withScratch } from "./tpm2-tools.ts";

/** As much of a logger as making a key needs, so that a command line can pass its own. */
export interface InfoLog {
  info(data: object, message: string): void;
}

/** The node's attestation key: a restricted ECC P-256 key that never leaves its TPM. */
export interface AttestationKey {
  /** TPMT_PUBLIC. */
  publicArea: Uint8Array;
  /** `000b` and the sha256 of the public area. */
  name: Hex;
}

/** The key if it exists, in the TPM and as this node made it. Throws TPM_HANDLE_TAKEN when another key sits in its place. */
export async function findKey(tools: TpmTools, config: Tpm2Config): Promise<AttestationKey | undefined> {
  const own = await readIfThere(publicPath(config));
  if (!(await persistentHandles(tools)).has(config.akHandle)) return undefined;
  const publicArea = await readPublic(tools, handleText(config.akHandle));
  if (own === undefined || !own.equals(publicArea))
    throw new MarketError("TPM_HANDLE_TAKEN", `The TPM holds a foreign key at ${handleText(config.akHandle)}.`, {
      hint: `Set another \`akHandle\`, or free it: tpm2_evictcontrol -C o -c ${handleText(config.akHandle)}`,
    });
  return { publicArea, name: keyName(publicArea) };
}

/** The key, made and stored inside the TPM at the first call. A TPM that was cleared gets a new one (enrol it again). */
export async function findOrMakeKey(tools: TpmTools, config: Tpm2Config, log: InfoLog): Promise<AttestationKey> {
  return (await findKey(tools, config)) ?? makeKey(tools, config, log);
}

/** TPMT_PUBLIC of a loaded object, given by handle or by context file. */
export async function readPublic(tools: TpmTools, object: string): Promise<Buffer> {
  return withScratch(async (path) => {
    await tools.run("readpublic", ["-c", object, "-f", "tss", "-o", path("public")]);
    const sized = await readFile(path("public"));
    if (sized.length < 2 || sized.readUInt16BE(0) !== sized.length - 2)
      throw new MarketError("TPM_COMMAND_FAILED", "tpm2_readpublic wrote something that is no TPM2B_PUBLIC.");
    return sized.subarray(2);
  });
}

async function makeKey(tools: TpmTools, config: Tpm2Config, log: InfoLog): Promise<AttestationKey> {
  const [ek, ak] = [handleText(config.ekHandle), handleText(config.akHandle)];
  await mkdir(config.stateDir, { recursive: true, mode: 0o700 });
  if (!(await persistentHandles(tools)).has(config.ekHandle)) {
    await withScratch((path) => tools.run("createek", ["-c", ek, "-G", "rsa", "-u", path("ek")]));
  }
  return withScratch(async (path) => {
    await tools.run("createak", ["-C", ek, "-c", path("ak"), "-G", "ecc", "-g", "sha256", "-s", "ecdsa"]);
    const publicArea = await readPublic(tools, path("ak"));
    // On disk first: a crash before the next line leaves a free handle, and the next call makes another key.
    await writeDurably(publicPath(config), publicArea);
    await tools.run("evictcontrol", ["-C", "o", "-c", path("ak"), ak]);
    // Without a resource manager the tools leave the loaded copies behind, and the TPM has room for three.
    await tools.run("flushcontext", ["-t"]);
    const name = keyName(publicArea);
    log.info({ akName: name, akHandle: ak }, "attestation key made");
    return { publicArea, name };
  });
}

async function persistentHandles(tools: TpmTools): Promise<Set<number>> {
  const listed = await tools.run("getcap", ["handles-persistent"]);
  return new Set((listed.match(/0x[0-9a-f]+/gi) ?? []).map(Number));
}

function publicPath({ stateDir }: Tpm2Config): string {
  return join(stateDir, "ak-public.tpm");
}

function keyName(publicArea: Uint8Array): Hex {
  return concat(["0x000b", sha256(publicArea)]);
}
