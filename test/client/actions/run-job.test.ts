import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestToCid, type JobId, MarketError, operatorTree, parseSpec } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { fund, withdraw } from "../../../client/src/actions/fund.ts";
import { getJob } from "../../../client/src/actions/get-job.ts";
import { getTerms } from "../../../client/src/actions/get-terms.ts";
import { listJobs } from "../../../client/src/actions/list-jobs.ts";
import { type RunOptions, resumeJob, runJob } from "../../../client/src/actions/run-job.ts";
import { approve, cancel, finalize } from "../../../client/src/actions/settle.ts";
import { chainNow, contentUrlOf, marketBalance, tokenOf } from "../../../client/src/chain-reads.ts";
import type { Context } from "../../../client/src/client.ts";
import { walletFromPrivateKey, walletFromViem } from "../../../client/src/wallet.ts";
import { eventually } from "../../support/eventually.ts";
import { startRegistry } from "../../support/registry.ts";
import { tinyImage } from "../support/images.ts";
import { type Ordered, type TestMarket, TOKEN, testMarket } from "../support/market.ts";
import { OUTPUT, playNode } from "../support/node.ts";

describe("runJob", function () {
  this.timeout(20_000);
  let market: TestMarket;
  let image: string;
  before(async () => {
    market = await testMarket();
    image = `oci:${(await tinyImage(await market.folder())).dir}`;
  });
  after(() => market.close());
  afterEach(() => {
    market.onRequest = undefined;
    market.explanation = undefined;
  });

  const wallet = () =>
    walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
  const options = (more: Partial<RunOptions> = {}): RunOptions => ({
    image,
    spec: { command: ["x"], runSeconds: 60, startSeconds: 30 },
    serve: { host: "127.0.0.1", port: 0 },
    ...more,
  });
  const error = async (promise: Promise<unknown>): Promise<MarketError> => {
    const caught = await promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(caught).to.be.instanceOf(MarketError);
    return caught as MarketError;
  };

  it("goes from an image to a verified, paid and exported result", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered));
    const client = await market.client(wallet());
    const out = join(await market.folder(), "result");
    const said: string[] = [];
    const report = await runJob(client, options({ out }), { onProgress: ({ message }) => said.push(message) });

    expect(report.verification.checks.filter(({ ok }) => !ok)).to.deep.equal([]);
    expect(report.verification.ok).to.equal(true);
    expect(await readFile(join(out, "answer.txt"), "utf8")).to.equal(OUTPUT);
    const [replica] = report.replicas;
    expect(replica).to.include({ state: "settled", outcome: "exited", exitCode: 0, contentUrl: market.gateway.url });
    expect(report.transactions.map(({ what }) => what)).to.deep.equal(["deposit", "match", "submit", "approve"]);
    expect(report.transactions.every(({ gasUsed }) => Number(gasUsed) > 20_000)).to.equal(true);
    expect(said.join("\n")).to.match(/matched to node 0x[0-9a-f]{40}\/0 for at most [0-9.]+ tUSD/);
    const earned = await marketBalance(client, market.offer.operator, market.offer.token);
    expect(String(earned)).to.equal(replica?.charge);

    const job = await getJob(client, report.jobId);
    expect(job).to.deep.include({ state: "settled" });
    const terms = await getTerms(client, report.jobId);
    expect(terms).to.deep.equal([{ terms: job.replicas[0]?.terms, matchedAt: job.replicas[0]?.matchedAt }]);
    const lines = await listJobs(await market.client(undefined, { indexerUrl: undefined }), {
      requester: job.order.requester,
    });
    expect(lines.map(({ jobId, state }) => ({ jobId, state }))).to.deep.equal([
      { jobId: report.jobId, state: "settled" },
    ]);
  });

  it("names an image in a registry by its digest, keeps it there, and takes the same from a spec", async () => {
    const { dir, digest } = await tinyImage(await market.folder());
    const registry = await startRegistry({ asksForToken: true });
    registry.push(dir);
    try {
      market.onRequest = async (ordered) => void (await playNode(market, ordered));
      const client = await market.client(wallet());
      const specOf = async (jobId: JobId) => {
        const { order } = await getJob(client, jobId);
        const bytes = await client.store.getBytes(digestToCid(order.specHash), { maxBytes: 2 ** 20 });
        return parseSpec(JSON.parse(new TextDecoder().decode(bytes)));
      };
      const first = await runJob(client, options({ image: `${registry.source}@${digest}` }));
      expect(first.verification.ok).to.equal(true);
      const spec = await specOf(first.jobId);
      expect(spec.image).to.deep.equal({ digest, sources: [registry.source] });
      const second = await runJob(client, { ...options(), image: undefined, spec });
      expect((await specOf(second.jobId)).image).to.deep.equal(spec.image);
    } finally {
      await registry.close();
    }
  });

  it("reports the exit code of a job that failed, and pays for it", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered, { exitCode: 3 }));
    const report = await runJob(await market.client(wallet()), options());
    expect(report.replicas[0]).to.include({ state: "settled", outcome: "exited", exitCode: 3 });
    expect(report.outputs).to.equal(null);
  });

  it("does not pay for a result that does not verify", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered, { signer: market.operator }));
    const out = join(await market.folder(), "result");
    const client = await market.client(wallet());
    const report = await runJob(client, options({ out }));
    expect(report.verification.ok).to.equal(false);
    expect(report).to.deep.include({ outputs: null });
    expect((await getJob(client, report.jobId)).state).to.equal("submitted");
  });

  it("pays only for outputs that are in the folder", async () => {
    const out = join(await market.folder(), "result");
    market.onRequest = async (ordered) => {
      await playNode(market, ordered);
      await mkdir(out);
      await writeFile(join(out, "in-the-way"), "");
    };
    const client = await market.client(wallet());
    let jobId: JobId | undefined;
    const onProgress: Context["onProgress"] = (event) => {
      jobId = event.jobId ?? jobId;
    };
    expect((await error(runJob(client, options({ out }), { onProgress }))).code).to.equal("TARGET_EXISTS");
    expect((await getJob(client, jobId as JobId)).state).to.equal("submitted");
  });

  it("leaves the paying to others when told to, and anyone ends it after the window", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered));
    const client = await market.client(wallet());
    const report = await runJob(client, options({ approve: false }));
    expect(report.replicas[0]?.state).to.equal("submitted");
    expect((await error(finalize(client, report.jobId))).message).to.match(/WindowOpen/);
    await approve(client, report.jobId);
    expect((await error(approve(client, report.jobId))).code).to.equal("NOTHING_TO_APPROVE");
  });

  it("is paid at once where the request leaves no time to challenge", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered));
    const report = await runJob(await market.client(wallet()), options({ challengeSeconds: 0 }));
    expect(report.verification.ok).to.equal(true);
    expect(report.replicas[0]?.state).to.equal("settled");
    expect(report.transactions.map(({ what }) => what)).to.not.include("approve");
  });

  it("lets the operators named take it, and nobody else", async () => {
    const { address } = market.operator;
    const stranger = privateKeyToAccount(generatePrivateKey()).address;
    let ordered: Ordered | undefined;
    market.onRequest = async (order) => {
      ordered = order;
      const { proofOf } = operatorTree([stranger, address]);
      expect(
        await market.match(order.request, order.signature, [[]]).catch((thrown: Error) => thrown.message),
      ).to.match(/OperatorNotAllowed/);
      await market.match(order.request, order.signature, [proofOf(address) ?? []]);
      await playNode(market, { ...order, signature: "0x" });
    };
    const client = await market.client(wallet());
    const report = await runJob(client, options({ operators: [stranger, address] }));
    expect(report.replicas[0]?.state).to.equal("settled");
    expect(ordered?.operators).to.deep.equal([stranger, address]);

    const { code, message } = await error(runJob(client, options({ operators: [stranger] })));
    expect(code).to.equal("NO_OFFER_FITS");
    expect(message).to.include("1 are of other operators than those named");
    const alone = await market.client(wallet(), { indexerUrl: undefined });
    const posted = options({ operators: [address], post: true, maxPrice: TOKEN });
    expect((await error(runJob(alone, posted))).code).to.equal("INDEXER_MISSING");
  });

  it("stops before any money moves when the image is another one", async () => {
    const client = await market.client(wallet());
    const before = await marketBalance(client, client.wallet?.address ?? "0x", market.offer.token);
    const wrong = `${image}@sha256:${"0".repeat(64)}`;
    expect((await error(runJob(client, options({ image: wrong })))).code).to.equal("IMAGE_BLOB_MISSING");
    expect(await marketBalance(client, client.wallet?.address ?? "0x", market.offer.token)).to.equal(before);
  });

  it("stops before anything is signed or paid when the market would refuse the request", async () => {
    const client = await market.client(wallet(), { indexerUrl: undefined });
    const { address } = client.wallet ?? { address: "0x" };
    const before = await client.rpc.client.getTransactionCount({ address });
    let confirmed = false;
    const confirm = async () => {
      confirmed = true;
    };
    // As long as a spec may say, and with the margin to publish a second longer than the market waits for.
    const spec = { command: [], runSeconds: 365 * 86_400, startSeconds: 86_400 - 59 };
    const { code, message, hint } = await error(
      runJob(client, options({ spec, post: true, maxPrice: TOKEN, confirm })),
    );
    expect(code).to.equal("REQUEST_UNSOUND");
    expect(message).to.include("`submitWindow` must be at most 366 days; it is 31622401");
    expect(hint).to.match(/^Correct `submitWindow`/);
    expect(confirmed).to.equal(false);
    expect(await client.rpc.client.getTransactionCount({ address })).to.equal(before);
  });

  it("says why nobody fits", async () => {
    const spec = { command: [], memoryMiB: 200_000 };
    const { code, message } = await error(runJob(await market.client(wallet()), options({ spec })));
    expect(code).to.equal("NO_OFFER_FITS");
    expect(message).to.include("1 offer, 0 fit: 1 have less memory than 200000 MiB (largest 100000)");
  });

  it("says what is there and what is needed when money is short", async () => {
    const poor = generatePrivateKey();
    const client = await market.client(walletFromPrivateKey(poor));
    const { code, message, hint } = await error(runJob(client, options()));
    expect(code).to.equal("FUNDS_TOO_LOW");
    expect(message).to.match(/have 0 tUSD in the market and 0 tUSD in the wallet, need \d/);
    expect(hint).to.include(privateKeyToAccount(poor).address.toLowerCase());
  });

  it("says what gas is missing before it asks for a signature", async () => {
    const client = await market.client(walletFromPrivateKey(generatePrivateKey()));
    const token = await tokenOf(client);
    const { message } = await error(fund(client, { token, need: 0n, furtherTransactions: 1 }));
    expect(message).to.match(/Not enough money for gas: have 0 ETH, need about [0-9.]+ ETH/);
  });

  it("reports why a request found no match before it closed", async () => {
    const client = await market.client(wallet());
    market.explanation = { offersSeen: 1, fits: 0, sentence: "1 offer, 0 fit: 1 is busy", reasons: [] };
    market.onRequest = async ({ request }) => {
      await market.anvil.call("evm_setNextBlockTimestamp", [request.openUntil + 1]);
      await market.anvil.call("evm_mine");
    };
    const { code, message } = await error(runJob(client, options()));
    expect(code).to.equal("JOB_NOT_MATCHED");
    expect(message).to.include("1 is busy");
  });

  it("tells a node that never delivers from a job that failed, and takes the deposit back", async () => {
    market.onRequest = async ({ request, signature }) => {
      await market.match(request, signature);
      const now = await chainNow(await market.client());
      await market.anvil.call("evm_setNextBlockTimestamp", [now + request.submitWindow + 5]);
      await market.anvil.call("evm_mine");
    };
    const client = await market.client(wallet());
    let jobId: string | undefined;
    const context = {
      onProgress: (event: { jobId?: string }) => {
        jobId = event.jobId ?? jobId;
      },
    };
    expect((await error(runJob(client, options(), context))).code).to.equal("JOB_NOT_DELIVERED");
    await finalize(client, jobId as never);
    const job = await getJob(client, jobId as never);
    expect(job.replicas[0]).to.include({ state: "refunded", reason: "timed-out" });
  });

  it("can be interrupted and resumed", async () => {
    const stop = new AbortController();
    let ordered: Ordered | undefined;
    market.onRequest = async (request) => {
      ordered = request;
    };
    const client = await market.client(wallet());
    const running = runJob(client, options(), { signal: stop.signal });
    await eventually("the request is ordered", () => ordered);
    const { request, signature } = ordered as unknown as Ordered;
    await market.match(request, signature);
    stop.abort(new Error("Ctrl-C"));
    expect(await running.catch((thrown: Error) => thrown.message)).to.equal("Ctrl-C");

    const jobId = (
      await listJobs(await market.client(undefined, { indexerUrl: undefined }), { requester: request.requester })
    )[0]?.jobId;
    const port = Number(new URL(ordered?.sources[0] ?? "").port);
    const resumed = resumeJob(client, jobId as never, { serve: { host: "127.0.0.1", port } });
    await playNode(market, { ...(ordered as unknown as Ordered), signature: "0x" });
    expect((await resumed).replicas[0]?.state).to.equal("settled");
  });

  it("posts on chain, announces where its content is, and cancels", async () => {
    const client = await market.client(wallet());
    const stop = new AbortController();
    let jobId: string | undefined;
    const onProgress = (event: { jobId?: string }) => {
      if (event.jobId === undefined) return;
      jobId = event.jobId;
      stop.abort(new Error("seen"));
    };
    const serve = { host: "127.0.0.1", port: 0, url: "http://requester.example:1234" };
    const operators = [market.operator.address];
    let listed: readonly string[] | undefined;
    market.onRequest = async (ordered) => {
      listed = ordered.operators;
    };
    const posting = runJob(client, options({ post: true, operators, serve }), { onProgress, signal: stop.signal });
    await posting.catch(() => undefined);
    const { state, request } = await getJob(client, jobId as never);
    expect(state).to.equal("posted");
    expect(request?.operators).to.equal(operatorTree(operators).root);
    expect(listed).to.deep.equal(operators); // the chain has their root alone
    expect(await contentUrlOf(client, client.wallet?.address ?? "0x")).to.equal("http://requester.example:1234");
    await cancel(client, jobId as never);
    expect((await getJob(client, jobId as never)).state).to.equal("cancelled");
  });

  it("gives back what is in the market", async () => {
    const client = await market.client(wallet());
    const token = await tokenOf(client, "tUSD");
    const account = client.wallet?.address ?? "0x";
    const balance = await marketBalance(client, account, token.address);
    await withdraw(client, token, balance);
    expect(await marketBalance(client, account, token.address)).to.equal(0n);
    expect((await error(withdraw(client, token, TOKEN))).message).to.include("BalanceTooLow");
  });
});
