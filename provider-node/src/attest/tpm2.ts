import { randomBytes } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { type Evidence, type Hex, MarketError } from "@berth/protocol";
import { bytesToHex, sha256 } from "viem";
import type { Attester, AttesterContext, AttestRequest } from "./attester.ts";
import { createMutex } from "./mutex.ts";
import { handleText, type Tpm2Config } from "./tpm2-config.ts";
import { readEndorsement } from "./tpm2-endorsement.ts";
import { type AttestationKey, findKey } from "./tpm2-key.ts";
import { measureImage } from "./tpm2-log.ts";
import { type TpmTools, tpmTools, withScratch } from "./tpm2-tools.ts";

/**
 * Attests with a TPM 2.0: measures the image into a register that only a reset clears, and lets the TPM sign that
 * register, those of the boot chain and the report data. The node must be enrolled first.
 */
export function createTpm2Attester(config: Tpm2Config, { log, clock = () => new Date() }: AttesterContext): Attester {
  const exclusive = createMutex();

  const attest = async ({ reportData, imageDigest, phase, signal }: AttestRequest): Promise<Evidence> => {
    const tools = tpmTools(config.tcti, signal);
    await mkdir(config.stateDir, { recursive: true, mode: 0o700 });
    const key = await enrolledKey(tools, config);
    const endorsement = await readEndorsement(config, key, clock());
    const eventLog = await measureImage(tools, config, imageDigest, log);
    const { quote, signature, pcrs } = await takeQuote(tools, config, reportData);
    log.info({ phase, reportData, imageDigest, kind: endorsement.kind }, "TPM signed a quote");
    return {
      version: 1,
      type: "tpm2",
      format: "tpm2-quote/v1",
      reportData,
      producedAt: clock().toISOString(),
      quote: quote.toString("base64"),
      signature: signature.toString("base64"),
      akPublic: Buffer.from(key.publicArea).toString("base64"),
      pcrs,
      eventLog,
      endorsement,
    };
  };

  const probe = async (signal?: AbortSignal) => {
    const tools = tpmTools(config.tcti, signal);
    const key = await enrolledKey(tools, config);
    const { kind, notAfter } = await readEndorsement(config, key, clock());
    // A real quote over random bytes: it proves the whole path and is evidence for nothing.
    await takeQuote(tools, config, bytesToHex(randomBytes(32)));
    const until = new Date(notAfter * 1000).toISOString();
    return { available: true, detail: `A ${kind} TPM at ${config.tcti} signs quotes; enrolled until ${until}.` };
  };

  return {
    type: "tpm2",
    attest: (request) => exclusive(() => attest(request)),
    probe: async ({ signal } = {}) => {
      try {
        return await exclusive(() => probe(signal));
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof MarketError)) throw error;
        const { message: detail, hint } = error;
        return { available: false, detail, ...(hint && { hint }) };
      }
    },
  };
}

async function enrolledKey(tools: TpmTools, config: Tpm2Config): Promise<AttestationKey> {
  const key = await findKey(tools, config);
  if (key !== undefined) return key;
  throw new MarketError("TPM_NOT_ENROLLED", "This node's TPM has no attestation key yet.", {
    hint: "Have an authority that requesters trust enrol it: scripts/tpm-authority.ts enrol",
  });
}

interface SignedQuote {
  /** TPMS_ATTEST. */
  quote: Buffer;
  /** TPMT_SIGNATURE. */
  signature: Buffer;
  pcrs: Record<string, Hex>;
}

async function takeQuote(tools: TpmTools, config: Tpm2Config, extraData: Hex): Promise<SignedQuote> {
  const indexes = [...new Set([...config.quotedPcrs, config.pcr])].sort((a, b) => a - b);
  return withScratch(async (path) => {
    await tools.run("quote", [
      ...["-c", handleText(config.akHandle), "-g", "sha256", "-l", `sha256:${indexes.join(",")}`],
      ...["-q", extraData.slice(2), "-m", path("quote"), "-s", path("signature"), "-o", path("pcrs"), "-F", "values"],
    ]);
    const [quote, signature, values] = await Promise.all(["quote", "signature", "pcrs"].map((n) => readFile(path(n))));
    if (quote === undefined || signature === undefined || values === undefined) throw new Error("unreachable");
    // The tool reads the registers apart from the quote; the quote ends with their digest.
    if (values.length !== indexes.length * 32 || sha256(values) !== bytesToHex(quote.subarray(-32)))
      throw new MarketError("TPM_REGISTERS_MOVED", "A quoted register changed while the quote was taken.", {
        retryable: true,
      });
    const entries = indexes.map((index, i) => [String(index), bytesToHex(values.subarray(i * 32, i * 32 + 32))]);
    return { quote, signature, pcrs: Object.fromEntries(entries) as Record<string, Hex> };
  });
}
