import { randomBytes } from "node:crypto";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fetchContent } from "@berth/content";
import { digestToCid, type JobId, type MarketError, parseSpec, type UnsignedResult } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { getJob } from "../../../client/src/actions/get-job.ts";
import { exportOutputs, type RunOptions, resumeJob, runJob } from "../../../client/src/actions/run-job.ts";
import { verifyJob } from "../../../client/src/actions/verify-job.ts";
import { marketBalance } from "../../../client/src/chain-reads.ts";
import { keyringOf } from "../../../client/src/sealed/keyring.ts";
import { walletFromViem } from "../../../client/src/wallet.ts";
import { archiveOutputs } from "../../../provider-node/src/output/archive.ts";
import { sealOnce } from "../../../provider-node/src/output/seal.ts";
import { agePair } from "../../support/age.ts";
import { quiet } from "../../support/engine.ts";
import { aSpec } from "../../support/specs.ts";
import { tinyImage } from "../support/images.ts";
import { type Ordered, silent, type TestMarket, testMarket } from "../support/market.ts";
import { OUTPUT, playNode } from "../support/node.ts";

const LOG = "it works\n";

describe("a job whose outputs are encrypted", function () {
  this.timeout(30_000);
  let market: TestMarket;
  let image: string;
  before(async () => {
    market = await testMarket({ nodes: 2 });
    image = `oci:${(await tinyImage(await market.folder())).dir}`;
  });
  after(() => market.close());

  const wallet = () =>
    walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
  const options = (more: Partial<RunOptions> = {}): RunOptions => ({
    image,
    spec: { command: ["x"], runSeconds: 60, startSeconds: 30 },
    serve: { host: "127.0.0.1", port: 0 },
    ...more,
  });
  const code = (promise: Promise<unknown>) =>
    promise.then(
      () => undefined,
      (error: MarketError) => error.code,
    );

  /** Publishes what an honest node does, encrypted to whom the spec says, or to `others`. */
  async function sealingNode(ordered: Ordered, others?: string[], replica = 0): Promise<void> {
    const { store } = market;
    const cid = digestToCid(ordered.request.specHash);
    await fetchContent(cid, { sources: ordered.sources, store, maxBytes: 2 ** 20, log: silent });
    const spec = parseSpec(JSON.parse(new TextDecoder().decode(await store.getBytes(cid, { maxBytes: 2 ** 20 }))));
    const recipients = others ?? spec.outputs.encryptTo ?? [];
    const text = async function* (content: string) {
      yield Buffer.from(content);
    };
    const dir = await market.folder();
    const add = async (name: string, content: () => AsyncIterable<Uint8Array>) =>
      (await store.addPath(await sealOnce(dir, name, content, recipients, quiet))).cid;
    const file = { path: "answer.txt", bytes: OUTPUT.length, content: () => text(OUTPUT) };
    const [outputs, stdout, stderr] = [
      await add("outputs", () => archiveOutputs([file], [])),
      await add("stdout", () => text(LOG)),
      await add("stderr", () => text("")),
    ];
    const record = (honest: UnsignedResult): UnsignedResult => ({
      ...honest,
      outputs: { cid: outputs, bytes: OUTPUT.length, files: 1, skipped: [] },
      stdout: { cid: stdout, bytes: LOG.length, truncated: false },
      stderr: { cid: stderr, bytes: 0, truncated: false },
    });
    await playNode(market, ordered, { record, replica });
  }

  it("is opened by who ordered it, verified by everyone, and written by nobody else", async () => {
    market.onRequest = (ordered) => sealingNode(ordered);
    const folder = await market.folder();
    const keyring = keyringOf({ dir: join(folder, "identities") });
    const client = await market.client(wallet());
    const said: string[] = [];
    const out = join(folder, "result");
    const onProgress = ({ message }: { message: string }) => said.push(message);
    const report = await runJob(client, options({ encrypt: true, keyring, out }), { onProgress });

    expect(report.verification.checks.filter(({ ok }) => !ok)).to.deep.equal([]);
    expect(report.replicas[0]).to.include({ state: "settled", exitCode: 0, opened: true });
    expect(await readFile(join(out, "answer.txt"), "utf8")).to.equal(OUTPUT);
    const [kept = ""] = await readdir(join(folder, "identities"));
    expect(said.find((line) => line.includes(kept))).to.match(/encrypted to age1/);
    expect((await stat(join(folder, "identities", kept))).mode & 0o777).to.equal(0o600);

    const stranger = await market.client();
    const job = await getJob(stranger, report.jobId);
    const verification = await verifyJob(stranger, job.jobId);
    expect(verification.ok).to.equal(true);
    expect(verification.checks.find(({ name }) => name === "outputs")?.detail).to.match(/encrypted.*not opened/);
    const theirs = keyringOf({ dir: join(folder, "nothing") });
    const take = (ring: typeof theirs) => exportOutputs(stranger, verification, join(folder, "taken"), ring, {});
    expect(await code(take(theirs))).to.equal("IDENTITY_MISSING");
    const wrong = join(folder, "wrong");
    await writeFile(wrong, (await agePair()).identity, { mode: 0o600 });
    expect(await code(take(keyringOf({ dir: folder, file: wrong })))).to.equal("IDENTITY_WRONG");
    expect(await code(verifyJob(stranger, job.jobId, { keyring: keyringOf({ dir: folder, file: wrong }) }))).to.equal(
      "IDENTITY_WRONG",
    );
    expect(await readdir(folder)).to.not.include("taken");
    await take(keyringOf({ dir: folder, file: join(folder, "identities", kept) }));
    expect(await readFile(join(folder, "taken/answer.txt"), "utf8")).to.equal(OUTPUT);
  });

  it("is not paid when the node publishes it in the clear, or encrypts it to others", async () => {
    const others = [(await agePair()).recipient];
    const nodes = [(ordered: Ordered) => playNode(market, ordered), (ordered: Ordered) => sealingNode(ordered, others)];
    for (const node of nodes) {
      market.onRequest = async (ordered) => void (await node(ordered));
      const client = await market.client(wallet());
      const keyring = keyringOf({ dir: await market.folder() });
      const out = join(await market.folder(), "result");
      const report = await runJob(client, options({ encrypt: true, keyring, out }));
      const failed = report.verification.checks.filter(({ ok }) => !ok).map(({ name }) => name);
      expect(failed).to.deep.equal(["outputs", "logs"]);
      expect(report.outputs).to.equal(null);
      const { checks } = await verifyJob(await market.client(), report.jobId);
      const seen = checks.filter(({ ok }) => !ok).map(({ name }) => name);
      expect(seen).to.deep.equal(node === nodes[0] ? ["outputs", "logs"] : []); // to whom it is encrypted does not show
      expect((await getJob(client, report.jobId as JobId)).state).to.equal("submitted");
    }
  });

  /** Ordered with a whole spec that names only somebody else; what the node publishes is `node`'s. */
  async function runUnopened(node: (ordered: Ordered) => Promise<void>, more: Partial<RunOptions> = {}) {
    market.onRequest = node;
    const { recipient, identity } = await agePair();
    const spec = parseSpec({
      ...aSpec(),
      outputs: { path: "/out", maxBytes: 1000, maxFiles: 1, encryptTo: [recipient] },
      timeouts: { runSeconds: 60, startSeconds: 30 },
    });
    const folder = await market.folder();
    const file = join(folder, "theirs");
    await writeFile(file, identity, { mode: 0o600 });
    const client = await market.client(wallet());
    const said: string[] = [];
    const context = { onProgress: ({ message }: { message: string }) => said.push(message) };
    const keyring = keyringOf({ dir: join(folder, "nothing") });
    const report = await runJob(client, options({ spec, keyring, ...more }), context);
    const serve = { host: "127.0.0.1", port: 0 };
    const resume = (with_: Omit<Parameters<typeof resumeJob>[2], "serve">) =>
      resumeJob(client, report.jobId, { serve, ...with_ }, context);
    return { report, said, resume, folder, keyring, theirs: keyringOf({ dir: folder, file }) };
  }

  it("is not paid before its window ends when nobody here opened it, and is once somebody does", async () => {
    const { report, said, resume, folder, keyring, theirs } = await runUnopened((ordered) => sealingNode(ordered));
    expect(report.verification.ok).to.equal(true);
    expect(report.replicas[0]).to.include({ state: "submitted", opened: false });
    expect(said.find((line) => line.startsWith("verified"))).to.match(/by hashes.*not opened/);
    const { replicas, order } = await getJob(await market.client(), report.jobId);
    const ends = new Date(((replicas[0]?.submittedAt ?? 0) + order.challengeWindow) * 1000).toISOString().slice(0, 19);
    const held = said.filter((line) => line.includes("challenge window ends"));
    expect(held).to.have.length(1);
    for (const word of [ends, `berth resume ${report.jobId}`, "--identity FILE", "--approve-unopened"]) {
      expect(held[0]).to.include(word);
    }
    expect(said).to.not.include("approved and settled");

    expect(await code(resume({ keyring, out: join(folder, "result") }))).to.equal("IDENTITY_MISSING");
    const later = await resume({ keyring: theirs, out: join(folder, "result") });
    expect(later.replicas[0]).to.include({ state: "settled", opened: true });
    expect(await readFile(join(folder, "result/answer.txt"), "utf8")).to.equal(OUTPUT);
  });

  it("is paid unopened by who says so, on run and on resume", async () => {
    const node = (ordered: Ordered) => sealingNode(ordered);
    const { report } = await runUnopened(node, { approveUnopened: true });
    expect(report.replicas[0]).to.include({ state: "settled", opened: false });
    const { resume, keyring } = await runUnopened(node);
    const never = await resume({ keyring, approve: false, approveUnopened: true });
    expect(never.replicas[0]).to.include({ state: "submitted", opened: false });
    const later = await resume({ keyring, approveUnopened: true });
    expect(later.replicas[0]).to.include({ state: "settled", opened: false });
  });

  it("is not paid for an age header and noise", async () => {
    const noise = async (ordered: Ordered) => {
      const add = async () => {
        const bytes = Buffer.concat([Buffer.from("age-encryption.org/v1\n"), randomBytes(400)]);
        return (await market.store.addBytes(bytes)).cid;
      };
      const [outputs, stdout, stderr] = [await add(), await add(), await add()];
      const record = (honest: UnsignedResult): UnsignedResult => ({
        ...honest,
        outputs: { cid: outputs, bytes: OUTPUT.length, files: 1, skipped: [] },
        stdout: { cid: stdout, bytes: LOG.length, truncated: false },
        stderr: { cid: stderr, bytes: 0, truncated: false },
      });
      await playNode(market, ordered, { record });
    };
    const { report, resume, theirs } = await runUnopened(noise);
    expect(report.replicas[0]).to.include({ state: "submitted", opened: false });
    const opened = await resume({ keyring: theirs });
    expect(opened.verification.checks.filter(({ ok }) => !ok).map(({ name }) => name)).to.deep.equal([
      "outputs",
      "logs",
    ]);
    expect(opened.replicas[0]).to.include({ state: "submitted", opened: false });
  });

  it("has replicas that agree when what is in the files does, as far as who compares can open them", async () => {
    market.onRequest = async (ordered) => {
      await sealingNode(ordered);
      await sealingNode({ ...ordered, signature: "0x" }, undefined, 1);
    };
    const folder = await market.folder();
    const keyring = keyringOf({ dir: folder });
    const client = await market.client(wallet());
    const { agreement, jobId, replicas } = await runJob(client, options({ encrypt: true, keyring, replicas: 2 }));
    expect(replicas[0]?.outputsCid).to.not.equal(replicas[1]?.outputsCid);
    expect(agreement?.groups).to.have.length(1);
    expect(agreement?.groups[0]).to.deep.include({ replicas: [0, 1], outcome: "exited" });
    const unopened = await verifyJob(await market.client(), jobId);
    expect(unopened).to.deep.include({ ok: true, agreement: null });
  });

  it("is not ordered when nobody here could open what is to be written here", async () => {
    const client = await market.client(wallet());
    const { address } = client.wallet ?? { address: "0x" };
    const before = await marketBalance(client, address, market.nodes[0]?.offer.token ?? "0x");
    market.onRequest = async () => expect.fail("it was ordered");
    expect(await code(runJob(client, options({ encrypt: true })))).to.equal("KEYRING_MISSING");
    const { recipient } = await agePair();
    const whole = parseSpec({
      ...aSpec(),
      outputs: { path: "/out", maxBytes: 1000, maxFiles: 1, encryptTo: [recipient] },
    });
    const folder = await market.folder();
    const keyring = keyringOf({ dir: folder });
    expect(await code(runJob(client, options({ spec: whole, out: join(folder, "result"), keyring })))).to.equal(
      "IDENTITY_MISSING",
    );
    expect(await marketBalance(client, address, market.nodes[0]?.offer.token ?? "0x")).to.equal(before);
  });
});
