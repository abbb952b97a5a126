import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseSignature } from "../../../client/src/evidence/tpm-attest.ts";
import { parseAttestationKey } from "../../../client/src/evidence/tpm-public.ts";
import { handleText, tpm2ConfigSchema } from "../../../provider-node/src/attest/tpm2-config.ts";
import { findOrMakeKey } from "../../../provider-node/src/attest/tpm2-key.ts";
import { tpmTools } from "../../../provider-node/src/attest/tpm2-tools.ts";
import { startSwtpm } from "../../../scripts/lib/swtpm.ts";

/** The parts of a TPM's quote, as the verifier's evidence holds them. */
export interface TpmQuote {
  /** TPMS_ATTEST. */
  attest: Buffer;
  /** r and s, 32 bytes each. */
  signature: Buffer;
  /** The quoted registers' values, ascending. */
  values: Buffer[];
}

export interface Tpm {
  /** The attestation key's point, 32 bytes each. */
  x: string;
  y: string;
  quote(extraData: string, pcrs: readonly number[]): Promise<TpmQuote>;
}

export interface RealTpm extends Tpm {
  extend(pcr: number, digest: string): Promise<void>;
  stop(): Promise<void>;
}

/** The evidence of `TpmQuoteVerifier`. */
export function packEvidence(tpm: Tpm, { attest, signature, values }: TpmQuote): string {
  const point = Buffer.from(tpm.x.slice(2) + tpm.y.slice(2), "hex");
  return `0x${Buffer.concat([attest, signature, point, ...values]).toString("hex")}`;
}

/** The value that a register of a `softTpm` has. */
export function softPcr(index: number): Buffer {
  return createHash("sha256").update(`register ${index}`).digest();
}

/** A key in this process that writes what a TPM writes. It proves nothing and costs nothing. */
export function softTpm(): Tpm & { signAttest(attest: Buffer): Buffer } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x = "", y = "" } = publicKey.export({ format: "jwk" });
  const signAttest = (attest: Buffer) => sign("sha256", attest, { key: privateKey, dsaEncoding: "ieee-p1363" });
  return {
    x: `0x${Buffer.from(x, "base64url").toString("hex")}`,
    y: `0x${Buffer.from(y, "base64url").toString("hex")}`,
    signAttest,
    quote: async (extraData, pcrs) => {
      const values = pcrs.map(softPcr);
      const attest = softAttest(extraData, pcrs, values);
      return { attest, signature: signAttest(attest), values };
    },
  };
}

function softAttest(extraData: string, pcrs: readonly number[], values: readonly Buffer[]): Buffer {
  const select = Buffer.alloc(3);
  for (const pcr of pcrs) select[pcr >> 3] = (select[pcr >> 3] ?? 0) | (1 << (pcr & 7));
  return Buffer.concat([
    Buffer.from("ff544347801800", "hex"),
    Buffer.from("22000b", "hex"),
    createHash("sha256").update("parents and key").digest(),
    Buffer.from([0, 32]),
    Buffer.from(extraData.slice(2), "hex"),
    // clock, reset count, restart count, safe, firmware version
    Buffer.from("00000000000104d20000000300000001012020082900123456", "hex"),
    Buffer.from("00000001000b03", "hex"),
    select,
    Buffer.from([0, 32]),
    createHash("sha256").update(Buffer.concat(values)).digest(),
  ]);
}

/** An emulated TPM with a real attestation key, driven by the tools that a node uses. */
export async function startRealTpm(): Promise<RealTpm> {
  const dir = await mkdtemp(join(tmpdir(), "berth-quote-"));
  const log = { info: () => undefined };
  const emulator = await startSwtpm({ dir: join(dir, "tpm"), log }).catch(async (error: unknown) => {
    await rm(dir, { recursive: true, force: true });
    throw error;
  });
  const stop = async () => {
    await emulator.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    const tools = tpmTools(emulator.tcti);
    const config = tpm2ConfigSchema.parse({ type: "tpm2", tcti: emulator.tcti, stateDir: join(dir, "node") });
    const { publicArea } = await findOrMakeKey(tools, config, log);
    const point = Buffer.from(parseAttestationKey(publicArea).point);
    const [quoted, signed, read] = ["quote", "signature", "pcrs"].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    return {
      x: `0x${point.subarray(1, 33).toString("hex")}`,
      y: `0x${point.subarray(33).toString("hex")}`,
      stop,
      extend: async (pcr, digest) => {
        await tools.run("pcrextend", [`${pcr}:sha256=${digest.slice(2)}`]);
      },
      quote: async (extraData, pcrs) => {
        await tools.run("quote", [
          ...["-c", handleText(config.akHandle), "-g", "sha256", "-l", `sha256:${pcrs.join(",")}`],
          ...["-q", extraData.slice(2), "-m", quoted, "-s", signed, "-o", read, "-F", "values"],
        ]);
        const [attest, signature, values] = await Promise.all([readFile(quoted), readFile(signed), readFile(read)]);
        return {
          attest,
          signature: Buffer.from(parseSignature(signature)),
          values: pcrs.map((_, i) => values.subarray(i * 32, i * 32 + 32)),
        };
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
