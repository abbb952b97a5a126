import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openEmbeddedStore, startGateway } from "@berth/content";
import {
  canonicalBytes,
  chargeDown,
  type Hex,
  type JobId,
  type Offer,
  type Request,
  type Result,
  type Spec,
  type UnsignedResult,
} from "@berth/protocol";
import * as dagPb from "@ipld/dag-pb";
import { expect } from "chai";
import { CID } from "multiformats/cid";
import { sha256 } from "multiformats/hashes/sha2";
import { createWalletClient, http } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { fetchResult } from "../../../client/src/actions/fetch-result.ts";
import { getJob } from "../../../client/src/actions/get-job.ts";
import { listJobs } from "../../../client/src/actions/list-jobs.ts";
import { runJob } from "../../../client/src/actions/run-job.ts";
import { verifyJob, verifyReplica } from "../../../client/src/actions/verify-job.ts";
import type { Client } from "../../../client/src/client.ts";
import { walletFromViem } from "../../../client/src/wallet.ts";
import { tinyImage } from "../support/images.ts";
import { silent, type TestMarket, testMarket } from "../support/market.ts";
import { type Mischief, OUTPUT, playNode } from "../support/node.ts";

describe("verifyJob", function () {
  this.timeout(20_000);
  let market: TestMarket;
  let image: string;
  let honest: JobId;
  let honestRecord: Result;
  before(async () => {
    market = await testMarket();
    image = `oci:${(await tinyImage(await market.folder())).dir}`;
    ({ jobId: honest, record: honestRecord } = await order());
  });
  after(() => market.close());

  /** Runs a job on the played node, and leaves it unpaid. */
  async function order(mischief: Mischief = {}, attestation: Spec["attestation"] = "none", more: SpecWishes = {}) {
    let record: Result | undefined;
    market.onRequest = async (ordered) => {
      record = await playNode(market, ordered, mischief);
    };
    const wallet = walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
    const { jobId } = await runJob(await market.client(wallet), {
      image,
      spec: { runSeconds: 60, attestation, ...more },
      serve: { host: "127.0.0.1", port: 0 },
      approve: false,
    });
    return { jobId, record: record as Result };
  }

  /** Names and reasons of the checks that fail, for a client that has nothing yet. */
  async function failures(jobId: JobId): Promise<Record<string, string>> {
    const { checks, ok } = await verifyJob(await market.client(), jobId);
    const failed = checks.filter((check) => !check.ok);
    expect(ok).to.equal(failed.length === 0);
    return Object.fromEntries(failed.map(({ name, detail }) => [name, detail]));
  }

  const only = async (jobId: JobId, name: string): Promise<string> => {
    const failed = await failures(jobId);
    expect(Object.keys(failed)).to.deep.equal([name]);
    return failed[name] ?? "";
  };

  it("passes every check of an honest result, needing no key", async () => {
    const { ok, checks } = await verifyJob(await market.client(), honest);
    expect(checks.filter((check) => !check.ok)).to.deep.equal([]);
    expect(ok).to.equal(true);
    expect(checks.map(({ name }) => name)).to.deep.equal([
      "job id",
      "terms",
      "commitment",
      "result record",
      "record names the job",
      "spec",
      "node signature",
      "run",
      "outputs",
      "logs",
      "charge",
      "evidence",
    ]);
  });

  it("catches a record signed by another key", async () => {
    const { jobId } = await order({ signer: privateKeyToAccount(generatePrivateKey()) });
    expect(await only(jobId, "node signature")).to.match(/signed by 0x[0-9a-f]{40}, but names/);
  });

  it("catches a signer that was no key of the node", async () => {
    const signer = privateKeyToAccount(generatePrivateKey());
    const record: Mischief["record"] = (made) => ({ ...made, signer: signer.address.toLowerCase() as Hex });
    const { jobId } = await order({ signer, record });
    expect(await only(jobId, "node signature")).to.include("no key of this node between match and result");
  });

  it("catches a charge that the usage does not earn", async () => {
    const { jobId } = await order({ record: (record) => ({ ...record, usage: { ...record.usage, wallMs: 900 } }) });
    expect(await only(jobId, "charge")).to.match(/claimed, but 0 s of run time earn/);
  });

  it("catches a claim above what the record charges", async () => {
    const { jobId } = await order({ claimedCharge: 1n });
    expect(await only(jobId, "charge")).to.include("0.000001 tUSD were claimed");
  });

  const nothing = { exitCode: null, outputs: null, stdout: null, stderr: null, startedAt: null } as const;

  it("catches a node that ran nothing, attested nothing and charges for a minute", async () => {
    const record: Mischief["record"] = (made) => ({ ...made, ...nothing, outcome: "timed-out", message: "too long" });
    const { jobId } = await order({ wallMs: 60_000, record }, "tpm2");
    const failed = await failures(jobId);
    expect(Object.keys(failed)).to.deep.equal(["run", "charge", "evidence"]);
    expect(failed["run"]).to.include("says nothing of when the command started");
    expect(failed["charge"]).to.include("nothing ran, but 60000 ms are charged");
    expect(failed["evidence"]).to.include("asks for tpm2 evidence, but the record has none");
  });

  it("catches a charge for time before anything could run; the base charge alone is in order", async () => {
    const record: Mischief["record"] = (made) => ({ ...made, ...nothing, outcome: "inputs-unavailable", message: "x" });
    expect(await only((await order({ record }, "tpm2")).jobId, "charge")).to.include("nothing ran");
    expect(await failures((await order({ record, wallMs: 0 }, "tpm2")).jobId)).to.deep.equal({});
  });

  it("catches a run outside the time between match and result", async () => {
    const hour = 3_600_000;
    const at = (iso: string | null, ms: number) => new Date(Date.parse(iso ?? "") + ms).toISOString();
    const early = await order({ record: (made) => ({ ...made, startedAt: at(made.startedAt, -hour) }) });
    expect(await only(early.jobId, "run")).to.include("before the match");
    const late = await order({ record: (made) => ({ ...made, finishedAt: at(made.finishedAt, hour) }) });
    expect(await only(late.jobId, "run")).to.include("after the result was submitted");
  });

  it("catches a record about another job, another image, another spec", async () => {
    const other: Hex = `0x${"9".repeat(64)}`;
    const first = await order({ record: (record) => ({ ...record, jobId: other as JobId }) });
    expect(await only(first.jobId, "record names the job")).to.include("jobId");
    const second = await order({ record: (record) => ({ ...record, imageDigest: `sha256:${"9".repeat(64)}` }) });
    expect(await only(second.jobId, "spec")).to.include("is about the image");
    const third = await order({ record: (record) => ({ ...record, specHash: other }) });
    expect(await only(third.jobId, "record names the job")).to.include("specHash");
  });

  it("catches logs of another length than the record says", async () => {
    const { jobId } = await order({
      record: (record) => ({ ...record, stdout: { ...record.stdout, bytes: 5 } as Result["stdout"] }),
    });
    expect(await only(jobId, "logs")).to.include("stdout has 9 bytes, but the record says 5");
  });

  it("catches missing outputs", async () => {
    const { jobId } = await order({ record: (record) => ({ ...record, outputs: null }) });
    expect(await only(jobId, "outputs")).to.include("names no outputs");
  });

  it("catches outputs that cannot be read as files", async () => {
    const bytes = dagPb.encode({ Links: [], Data: new Uint8Array([1, 2, 3]) });
    const cid = CID.createV1(dagPb.code, await sha256.digest(bytes));
    await market.store.blocks.put(cid, bytes);
    const { jobId } = await order({ record: (made) => ({ ...made, outputs: outputsOf(made, { cid: `${cid}` }) }) });
    expect(await only(jobId, "outputs")).to.include("broken UnixFS");
  });

  it("catches outputs of another size than the record says", async () => {
    const fewer = await order({ record: (made) => ({ ...made, outputs: outputsOf(made, { files: 2 }) }) });
    expect(await only(fewer.jobId, "outputs")).to.include("1 files and 10 bytes, but the record says 2 files and 10");
    const more = await order({ record: (made) => ({ ...made, outputs: outputsOf(made, { bytes: 9 }) }) });
    expect(await only(more.jobId, "outputs")).to.include("larger than the 9 bytes allowed");
  });

  it("catches outputs above what the spec allows", async () => {
    const { jobId } = await order({}, "none", { outputsMaxBytes: 9 });
    expect(await only(jobId, "outputs")).to.include("10 bytes of outputs, but the spec allows 9");
  });

  it("catches missing evidence", async () => {
    const { jobId } = await order({}, "tpm2");
    expect(await only(jobId, "evidence")).to.include("asks for tpm2 evidence, but the record has none");
  });

  it("will not believe evidence when nobody is trusted to vouch for it", async () => {
    const { cid } = await market.store.addBytes(canonicalBytes({ made: "up" }));
    const { jobId } = await order({ record: (record) => ({ ...record, evidence: cid }) }, "tpm2");
    expect(await only(jobId, "evidence")).to.include("no authority was given");
    const trust = { tpmAuthorities: [{ publicKey: `0x${"1".repeat(64)}` as Hex, kind: "hardware" as const }] };
    const { checks } = await verifyJob(await market.client(), jobId, { trust });
    expect(checks.find(({ name }) => name === "evidence")?.detail).to.include("not a document this version knows");
  });

  it("catches a block that nobody has, and says so by name", async () => {
    const bytes = new TextEncoder().encode(`gone ${Math.random()}`);
    const elsewhere = await openEmbeddedStore({ dir: await market.folder() });
    const { cid } = await elsewhere.addBytes(bytes);
    await elsewhere.close();
    const { jobId } = await order({
      record: (record) => ({ ...record, stderr: { cid, bytes: bytes.length, truncated: false } }),
    }).catch(() => ({ jobId: undefined }));
    // The run itself stops at the fetch, so the job is found by its requester.
    const found = jobId ?? (await lastJob());
    expect(await only(found, "logs")).to.include(cid);
  });

  it("catches one damaged byte of the record and of a log; fetching again heals it", async () => {
    const dir = await market.folder();
    const store = await openEmbeddedStore({ dir });
    const client = await market.client(undefined, { store });
    await fetchResult(client, await getJob(client, honest));
    const failed = async () => (await verifyJob(client, honest)).checks.filter(({ ok }) => !ok).map(({ name }) => name);
    expect(await failed()).to.deep.equal([]);
    await damage(dir, canonicalBytes(honestRecord));
    expect(await failed()).to.deep.equal(["result record"]);
    await damage(dir, new TextEncoder().encode("it works\n"));
    expect(await failed()).to.deep.equal(["logs"]);
    await damage(dir, new TextEncoder().encode(OUTPUT));
    expect(await failed()).to.deep.equal(["outputs"]);
    expect(await failed()).to.deep.equal([]);
    await store.close();
  });

  it("catches terms and claims that are not those of the market", async () => {
    const client = await market.client();
    const job = await getJob(client, honest);
    const [replica] = job.replicas;
    if (replica?.claim === null || replica === undefined) throw new Error("the honest job has a claim");
    const failed = async (change: Partial<typeof replica>, whole: Partial<typeof job> = {}) => {
      const { checks } = await verifyReplica(client, { ...job, ...whole }, { ...replica, ...change }, {});
      return checks.filter(({ ok }) => !ok).map(({ name }) => name);
    };
    expect(await failed({})).to.deep.equal([]);
    const { terms, claim, offer } = replica;
    const other: Hex = `0x${"0".repeat(64)}`;
    const assigned = (change: object) => ({ terms: { ...terms, assignment: { ...terms.assignment, ...change } } });
    expect(await failed(assigned({ offerHash: other }))).to.deep.equal(["terms", "commitment"]);
    expect(await failed(assigned({ rateX18: 0n }))).to.deep.equal(["terms", "commitment", "charge"]);
    expect(await failed({ claim: { ...claim, resultBytes: 1n } })).to.deep.equal(["commitment", "result record"]);
    expect(await failed({ terms: { ...terms, job: { ...terms.job, jobId: other as JobId } } })).to.deep.equal([
      "job id",
      "terms",
      "commitment",
    ]);
    expect(await failed({ offer: { ...(offer as Offer), cpuRateX18: 0n } })).to.deep.equal(["terms"]);
    expect(await failed({ index: 1 })).to.include("terms");
    const order = { ...job.order, bond: 0n };
    expect(await failed({}, { order })).to.deep.equal(["terms"]);
    const request = job.request as Request;
    expect(await failed({}, { request: { ...request, nonce: other } })).to.deep.equal(["job id", "terms"]);
    expect(await failed({}, { request: { ...request, bond: 0n } })).to.deep.equal(["job id", "terms"]);
  });

  it("needs no orders, only what the market announced; the commitment alone then catches other terms", async () => {
    const client = await market.client(undefined, { indexerUrl: "http://127.0.0.1:1" });
    const found = await getJob(withoutTransactions(client), honest);
    expect(found).to.include({ request: null, state: "submitted" });
    const { order, replicas } = found;
    const [replica] = replicas;
    if (replica === undefined) throw new Error("the honest job has a replica");
    expect(replica.offer).to.equal(null);
    const all = await getJob(client, honest);
    expect(replica.terms).to.deep.equal(all.replicas[0]?.terms);
    expect(order).to.deep.equal(all.order);

    const failed = async (given: typeof found, of: typeof replica) =>
      (await verifyReplica(client, given, of, {})).checks.filter(({ ok }) => !ok).map(({ name }) => name);
    expect(await failed(found, replica)).to.deep.equal([]);
    const cheaper = { ...replica.terms, job: { ...replica.terms.job, bond: 0n } };
    const lied = { ...found, order: { ...order, bond: 0n } };
    expect(await failed(lied, { ...replica, terms: cheaper })).to.deep.equal(["commitment"]);
    expect(await failed(lied, replica)).to.deep.equal(["terms"]);
  });

  it("charges what both sides signed", async () => {
    const { request, replicas } = await getJob(await market.client(), honest);
    const [replica] = replicas;
    const seconds = Math.floor(honestRecord.usage.wallMs / 1000);
    expect(replica?.claim?.charge).to.equal(chargeDown(request as Request, replica?.offer as Offer, seconds));
  });

  it("finds a result at the node's present address after a move", async () => {
    const moved = await startGateway({ store: market.store, host: "127.0.0.1", port: 0, log: silent });
    const client = await market.client();
    const { checks } = await verifyJob({ ...client, contentGateways: [moved.url] }, honest);
    await moved.close();
    expect(checks.every(({ ok }) => ok)).to.equal(true);
  });

  async function lastJob(): Promise<JobId> {
    const client = await market.client(undefined, { indexerUrl: undefined });
    const [line] = await listJobs(client, { requester: market.requester.address.toLowerCase() as Hex });
    return line?.jobId as JobId;
  }
});

/** A client whose RPC has forgotten what transactions called. */
function withoutTransactions(client: Client): Client {
  const request: Client["rpc"]["request"] = async (method, ...rest) =>
    method === "eth_getTransactionByHash" ? null : await client.rpc.request(method, ...rest);
  return { ...client, rpc: { ...client.rpc, request } };
}

type SpecWishes = { outputsMaxBytes?: number };

function outputsOf({ outputs }: UnsignedResult, change: Partial<NonNullable<Result["outputs"]>>): Result["outputs"] {
  if (outputs === null) throw new Error("the played node makes outputs");
  return { ...outputs, ...change };
}

/** Flips a bit of the stored block that holds exactly `bytes`. */
async function damage(dir: string, bytes: Uint8Array): Promise<void> {
  const blocks = join(dir, "blocks");
  for (const entry of await readdir(blocks, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const found = await readFile(path);
    if (Buffer.compare(found, bytes) !== 0) continue;
    found.writeUInt8(found.readUInt8(0) ^ 1, 0);
    return await writeFile(path, found);
  }
  throw new Error("the store has no such block");
}
