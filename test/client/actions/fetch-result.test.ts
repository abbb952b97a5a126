import { randomBytes } from "node:crypto";
import { type Hex, type JobId, MAX_DOCUMENT_BYTES, type MarketError, type Result } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { buildSpec } from "../../../client/src/actions/build-spec.ts";
import { fetchRecord, fetchResult, MAX_LOG_BYTES, partsOf } from "../../../client/src/actions/fetch-result.ts";
import { getJob } from "../../../client/src/actions/get-job.ts";
import { listJobs } from "../../../client/src/actions/list-jobs.ts";
import { runJob } from "../../../client/src/actions/run-job.ts";
import { walletFromViem } from "../../../client/src/wallet.ts";
import { SANDBOX_POLICY } from "../../../provider-node/src/engine/sandbox-policy.ts";
import { tinyImage } from "../support/images.ts";
import { type TestMarket, testMarket } from "../support/market.ts";
import { type Mischief, playNode } from "../support/node.ts";

const MIB = 2 ** 20;
const CID = `b${"a".repeat(58)}`;

describe("partsOf", () => {
  const spec = buildSpec({ image: { digest: `sha256:${"1".repeat(64)}`, cid: CID }, outputsMaxBytes: 10 * MIB });
  const boundsOf = (record: Partial<Result>) => {
    const parts = partsOf({ outputs: null, stdout: null, stderr: null, evidence: null, ...record } as Result, spec);
    return Object.fromEntries(parts.map(({ name, maxBytes }) => [name, maxBytes]));
  };

  it("never allows more than the spec does, whatever a record says", () => {
    const outputs = { cid: CID, bytes: 2 ** 50, files: 2 ** 40, skipped: [] };
    expect(boundsOf({ outputs })["outputs"]).to.be.within(10 * MIB, 30 * MIB);
  });

  it("allows no more than a small record needs", () => {
    const outputs = { cid: CID, bytes: 1000, files: 1, skipped: [] };
    expect(boundsOf({ outputs })["outputs"]).to.be.within(1000, 2 * MIB);
  });

  it("allows as much of a log as a sandbox keeps", () => {
    expect(MAX_LOG_BYTES).to.equal(SANDBOX_POLICY.maxLogBytes);
    const stdout = { cid: CID, bytes: 2 ** 36, truncated: false };
    expect(boundsOf({ stdout, stderr: stdout })).to.deep.equal({
      stdout: MAX_LOG_BYTES + MIB,
      stderr: MAX_LOG_BYTES + MIB,
    });
  });
});

describe("fetchResult", function () {
  this.timeout(20_000);
  let market: TestMarket;
  before(async () => {
    market = await testMarket();
  });
  after(() => market.close());

  /** The newest job, left by a node that departs from honesty. */
  async function jobOf(mischief: Mischief) {
    market.onRequest = async (ordered) => void (await playNode(market, ordered, mischief));
    const wallet = walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
    const { dir } = await tinyImage(await market.folder());
    const spec = { runSeconds: 60, outputsMaxBytes: MIB };
    const serve = { host: "127.0.0.1", port: 0 };
    await runJob(await market.client(wallet), { image: `oci:${dir}`, spec, serve }).catch(() => undefined);
    const client = await market.client(undefined, { indexerUrl: undefined });
    const [line] = await listJobs(client, { requester: market.requester.address.toLowerCase() as Hex });
    if (line === undefined) throw new Error("no job was ordered");
    return { client, job: await getJob(client, line.jobId as JobId) };
  }
  const codeOf = async (promise: Promise<unknown>) =>
    await promise.then(
      () => "none",
      (error: MarketError) => error.code,
    );

  it("does not take outputs or logs that are larger than was agreed", async () => {
    const { cid } = await market.store.addBytes(randomBytes(6 * MIB));
    const outputs = { cid, bytes: 6 * MIB, files: 1, skipped: [] };
    const large = await jobOf({ record: (record) => ({ ...record, outputs }) });
    expect(await codeOf(fetchResult(large.client, large.job))).to.equal("CONTENT_TOO_LARGE");
    expect(large.job.state).to.equal("submitted");
    const stdout = { cid, bytes: 6 * MIB, truncated: false };
    const loud = await jobOf({ record: (record) => ({ ...record, stdout }) });
    expect(await codeOf(fetchResult(loud.client, loud.job))).to.equal("CONTENT_TOO_LARGE");
    expect(loud.job.state).to.equal("submitted");
  });

  it("takes no record longer than was claimed, or than a record may be", async () => {
    const { client, job } = await jobOf({});
    const [replica] = job.replicas;
    if (replica === undefined || replica.claim === null) throw new Error("the honest job has a claim");
    const withBytes = (resultBytes: bigint) =>
      ({ ...replica, claim: { ...replica.claim, resultBytes } }) as typeof replica;
    const sources = [market.gateway.url];
    expect(await codeOf(fetchRecord(client, withBytes(10n), sources))).to.equal("CONTENT_TOO_LARGE");
    const most = BigInt(MAX_DOCUMENT_BYTES);
    expect(await codeOf(fetchRecord(client, withBytes(most + 1n), sources))).to.equal("RESULT_INVALID");
    expect(await codeOf(fetchRecord(client, withBytes(most), sources))).to.equal("none");
  });
});
