import { constants, createCipheriv, createHmac, type KeyObject, publicEncrypt, randomBytes } from "node:crypto";

/** A secret that only one TPM opens, and only beside one key: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. */
export interface Challenge {
  idObject: Buffer;
  encryptedSecret: Buffer;
}

/**
 * TPM2_MakeCredential in software (TPM 2.0 Library, part 1, "Credential Protection"), for an RSA endorsement key with
 * the TCG's default template: SHA-256 and AES-128-CFB.
 * @param keyName TPM name of the key that must be in the same TPM
 * @param secret at most 32 bytes
 */
export function makeCredential(endorsementKey: KeyObject, keyName: Buffer, secret: Buffer): Challenge {
  const seed = randomBytes(32);
  const oaepLabel = Buffer.from("IDENTITY\0");
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const encryptedSeed = publicEncrypt({ key: endorsementKey, padding, oaepHash: "sha256", oaepLabel }, seed);

  const symmetricKey = kdfa(seed, "STORAGE", keyName, 16);
  const cipher = createCipheriv("aes-128-cfb", symmetricKey, Buffer.alloc(16));
  const encryptedIdentity = Buffer.concat([cipher.update(sized(secret)), cipher.final()]);
  const integrity = createHmac("sha256", kdfa(seed, "INTEGRITY", Buffer.alloc(0), 32))
    .update(encryptedIdentity)
    .update(keyName)
    .digest();
  return {
    idObject: sized(Buffer.concat([sized(integrity), encryptedIdentity])),
    encryptedSecret: sized(encryptedSeed),
  };
}

/** The TPM's KDFa over HMAC-SHA-256, for up to 32 bytes (so its counter is always 1). */
function kdfa(key: Buffer, label: string, context: Buffer, bytes: number): Buffer {
  const [counter, bits] = [Buffer.alloc(4), Buffer.alloc(4)];
  counter.writeUInt32BE(1);
  bits.writeUInt32BE(bytes * 8);
  return createHmac("sha256", key)
    .update(Buffer.concat([counter, Buffer.from(`${label}\0`), context, bits]))
    .digest()
    .subarray(0, bytes);
}

function sized(content: Buffer): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(content.length);
  return Buffer.concat([size, content]);
}
