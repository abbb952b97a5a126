import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fetchContent } from "@berth/content";
import {
  type Address,
  canonicalBytes,
  chargeDown,
  digestToCid,
  jobIdOf,
  jobMarketAbi,
  parseSpec,
  type Result,
  resultTypedData,
  type Spec,
  termsOf,
  type UnsignedResult,
  ZERO_BYTES32,
} from "@berth/protocol";
import { sha256 } from "viem";
import type { PrivateKeyAccount } from "viem/accounts";
import { type Ordered, type PlayedNode, silent, type TestMarket } from "./market.ts";

/** How the played node departs from honesty. */
export interface Mischief {
  /** Changes the record before it is signed. */
  record?: (record: UnsignedResult) => UnsignedResult;
  /** Changes the claim, with the record honest. */
  claimedCharge?: bigint;
  signer?: PrivateKeyAccount;
  exitCode?: number;
  wallMs?: number;
  /** Which replica it plays, with that node of the market. Default 0. */
  replica?: number;
  /** What it writes into its one file. */
  output?: string;
}

const WALL_MS = 2500;
export const OUTPUT = "forty-two\n";

/** Does what a node does with a matched request: fetches from the requester, "runs", publishes, submits. */
export async function playNode(market: TestMarket, ordered: Ordered, mischief: Mischief = {}): Promise<Result> {
  const { request, signature, sources } = ordered;
  const { store, deployment } = market;
  const { replica = 0 } = mischief;
  const { offer, hotKey } = nodeOf(market, replica);
  if (signature !== "0x") await market.match(request, signature);
  const fetch = async (cid: string) => await fetchContent(cid, { sources, store, maxBytes: 2 ** 30, log: silent });
  const specCid = digestToCid(request.specHash);
  await fetch(specCid);
  const spec = parseSpec(JSON.parse(new TextDecoder().decode(await store.getBytes(specCid, { maxBytes: 2 ** 20 }))));
  if (spec.image.cid !== undefined) await fetch(spec.image.cid);
  for (const { cid } of spec.inputs) await fetch(cid);
  const unsigned = await honestRecord(market, ordered, spec, mischief);
  const changed = mischief.record?.(unsigned) ?? unsigned;
  const signer = mischief.signer ?? hotKey;
  const domain = { chainId: deployment.chainId, market: deployment.market };
  const record: Result = { ...changed, signature: await signer.signTypedData(resultTypedData(domain, changed)) };
  const bytes = canonicalBytes(record);
  await store.addBytes(bytes);
  const claim = {
    resultHash: sha256(bytes),
    resultBytes: BigInt(bytes.length),
    charge: mischief.claimedCharge ?? BigInt(record.charge),
  };
  const terms = termsOf(domain, request, offer, replica);
  // The market pays for no more time than has passed since the match.
  await market.anvil.call("evm_increaseTime", [Math.ceil((mischief.wallMs ?? WALL_MS) / 1000) + 1]);
  await market.anvil.call("evm_mine");
  await market.write(hotKey, deployment.market, jobMarketAbi, "submit", [terms, claim, "0x"]);
  return record;
}

function nodeOf(market: TestMarket, replica: number): PlayedNode {
  const node = replica === 0 ? market : market.nodes[replica];
  if (node === undefined) throw new Error(`there is no node for replica ${replica}`);
  return node;
}

async function honestRecord(
  market: TestMarket,
  { request }: Ordered,
  spec: Spec,
  { exitCode = 0, wallMs = WALL_MS, replica = 0, output = OUTPUT }: Mischief,
): Promise<UnsignedResult> {
  const { store, deployment, folder } = market;
  const { offer, hotKey } = nodeOf(market, replica);
  const outputsDir = join(await folder(), "out");
  await mkdir(outputsDir);
  await writeFile(join(outputsDir, "answer.txt"), output);
  const outputs = await store.addPath(outputsDir);
  const log = async (text: string) => {
    const bytes = new TextEncoder().encode(text);
    return { cid: (await store.addBytes(bytes)).cid, bytes: bytes.length, truncated: false };
  };
  const domain = { chainId: deployment.chainId, market: deployment.market };
  const { timestamp } = await market.anvil.call("eth_getBlockByNumber", ["latest", false]);
  const startedMs = Number(timestamp) * 1000; // the chain's clock runs ahead of the day's here
  return {
    version: 1,
    chainId: deployment.chainId,
    market: deployment.market,
    jobId: jobIdOf(domain, request),
    replica,
    operator: offer.operator,
    index: offer.index,
    attempt: 0,
    specHash: request.specHash,
    imageDigest: spec.image.digest,
    outcome: "exited",
    exitCode,
    message: "",
    startedAt: new Date(startedMs).toISOString(),
    finishedAt: new Date(startedMs + wallMs).toISOString(),
    usage: { wallMs, cpuNs: "1000", peakBytes: 1, gpuMs: 0, inBytes: 0, outBytes: output.length },
    outputs: { cid: outputs.cid, bytes: outputs.contentBytes, files: outputs.files, skipped: [] },
    stdout: await log("it works\n"),
    stderr: await log(""),
    evidence: null,
    policyHash: ZERO_BYTES32,
    charge: String(chargeDown(request, offer, Math.floor(wallMs / 1000))),
    signer: hotKey.address.toLowerCase() as Address,
  };
}
