import { createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { link, mkdir, open, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Hex } from "@berth/protocol";
import { MarketError } from "@berth/protocol";
import { readIfThere } from "../attest/durable-file.ts";

/** The public half of a node's WireGuard key. The private half stays in its file and never passes through here. */
export interface MeshKey {
  /** As `wg pubkey` prints it: base64, 44 characters. */
  publicKey: string;
  /** The same 32 bytes as the registry stores them. */
  wgKey: Hex;
}

/**
 * Reads the WireGuard key in `keyFile` (one line of base64, as `wg genkey` writes it), and makes it first where there is
 * none. A new file is readable by its owner only, on disk before this returns, and never replaces one that exists.
 * @throws MarketError MESH_KEY_EXPOSED when others can read the file; MESH_KEY_INVALID when it holds no key
 */
export async function loadOrCreateKey(keyFile: string): Promise<MeshKey> {
  const found = (await readIfThere(keyFile)) ?? (await createKeyFile(keyFile));
  await refuseExposed(keyFile);
  const text = found.toString("utf8").trim();
  const privateKey = Buffer.from(text, "base64");
  if (privateKey.length !== 32 || privateKey.toString("base64") !== text) {
    throw new MarketError("MESH_KEY_INVALID", `${keyFile} does not hold a WireGuard private key.`, {
      hint: "Restore the file, or delete it: a new key is made at the next start and must then be published again.",
    });
  }
  return publicHalf(privateKey);
}

/** The base64 form of a key that the registry stores. */
export function keyFromHex(wgKey: Hex): string {
  return Buffer.from(wgKey.slice(2), "hex").toString("base64");
}

/** The public key of 32 private bytes. */
export function publicHalf(privateKey: Uint8Array): MeshKey {
  const der = Buffer.concat([PKCS8_X25519, privateKey]);
  const jwk = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({ format: "jwk" });
  const bytes = Buffer.from(jwk.x ?? "", "base64url");
  return { publicKey: bytes.toString("base64"), wgKey: `0x${bytes.toString("hex")}` };
}

/** Everything of a PKCS #8 X25519 key before the 32 private bytes (RFC 8410). */
const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");

async function createKeyFile(keyFile: string): Promise<Buffer> {
  await mkdir(dirname(keyFile), { recursive: true, mode: 0o700 });
  const draft = `${keyFile}.${randomBytes(6).toString("hex")}`;
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(`${newPrivateKey().toString("base64")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(draft, keyFile); // unlike a rename, it fails where another start has just made the key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(draft);
  }
  const folder = await open(dirname(keyFile));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return (await readIfThere(keyFile)) ?? Buffer.alloc(0);
}

/** 32 random bytes, clamped like those of `wg genkey`, so that the file equals what `wg show` would tell. */
function newPrivateKey(): Buffer {
  const bytes = randomBytes(32);
  bytes.writeUInt8(bytes.readUInt8(0) & 248, 0);
  bytes.writeUInt8((bytes.readUInt8(31) & 127) | 64, 31);
  return bytes;
}

async function refuseExposed(keyFile: string): Promise<void> {
  const { mode } = await stat(keyFile);
  if ((mode & 0o077) === 0) return;
  throw new MarketError("MESH_KEY_EXPOSED", `Others on this machine can open the WireGuard key ${keyFile}.`, {
    hint: `Run: chmod 600 ${keyFile}. If anyone may have read it, delete it and publish the new key.`,
  });
}
