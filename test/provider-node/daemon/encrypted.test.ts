import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fetchContent, openEmbeddedStore, readTar } from "@berth/content";
import { digestToCid, type JobId, parseResult, type Result } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { openSealed } from "../../../client/src/sealed/open.ts";
import { agePair, bytesOf, openWithAge } from "../../support/age.ts";
import { eventually } from "../../support/eventually.ts";
import { aSpec } from "../../support/specs.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { type RegisteredNode, registerNode } from "./registered-node.ts";

const log = pino({ level: "silent" });
const berth = join(import.meta.dirname, "../../../client/src/main.ts");
/** Words that must be nowhere but in the encrypted files. The shell puts each together, so that the spec does not have it. */
const SECRETS = { name: "treasure-map", content: "x marks the spot", out: "digging-loudly", err: "shovel-broken" };
const half = (word: string) => `${word.slice(0, 3)}""${word.slice(3)}`;
const SCRIPT = [
  `mkdir /out/deep; echo "${half(SECRETS.content)}" > /out/deep/${half(SECRETS.name)}`,
  "head -c 3000000 /dev/urandom > /out/noise; sha256sum /out/noise | cut -c1-64 > /out/sum",
  `ln -s /etc/passwd /out/${half(SECRETS.name)}-link; echo ${half(SECRETS.out)}; echo ${half(SECRETS.err)} >&2; exit 3`,
].join("; ");

describe("a node whose requester wants outputs encrypted", function () {
  this.timeout(180_000);
  let bench: MarketBench;
  let registered: RegisteredNode;
  let node: NodeProcess | undefined;
  let recipient: string;
  let identity: string;
  let identityFile: string;

  before(async () => {
    bench = await openMarketBench();
    registered = await registerNode(bench, "e");
    ({ recipient, identity } = await agePair());
    identityFile = join(bench.dir, "identity.txt");
    writeFileSync(identityFile, `${identity}\n`, { mode: 0o600 });
  });
  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    node = undefined;
  });
  after(async () => {
    await node?.kill("SIGKILL");
    if (registered !== undefined) await berthNode([...registered.flags, "clean"]);
    await bench?.close();
  });

  const order = (to = recipient) =>
    bench.match({
      command: ["/bin/sh", "-c", SCRIPT],
      outputs: { ...aSpec().outputs, maxBytes: 4_000_000, encryptTo: [to] },
      idempotent: false,
    });

  it("publishes nothing that anyone else can read, and a record that everyone can", async () => {
    node = startNode(registered.flags);
    await node.ready;
    const { jobId } = await order();
    const result = await resultOf(jobId);
    expect(result).to.deep.include({ outcome: "exited", exitCode: 3 });
    expect(result.outputs).to.deep.include({
      files: 3,
      bytes: 3_000_000 + 65 + SECRETS.content.length + 1,
      skipped: [],
    });
    expect(result.usage.outBytes).to.equal(result.outputs?.bytes);
    for (const secret of Object.values(SECRETS)) {
      expect(JSON.stringify(result)).to.not.include(secret);
      const readable = filesIn(join(registered.dataDir, "content")).filter((file) =>
        readFileSync(file).includes(secret),
      );
      expect(readable).to.deep.equal([]);
    }
  });

  it("gives who has the identity files, names and logs, by berth and by any age", async function () {
    node = startNode(registered.flags);
    await node.ready;
    const { jobId } = await order();
    const { outputs } = await resultOf(jobId);
    const out = join(bench.dir, "got");
    expect(await client("get", jobId, "--out", out)).to.deep.include({ code: 2, error: "IDENTITY_MISSING" });
    expect(await client("get", jobId, "--out", out, "--identity", identityFile)).to.deep.include({ code: 0 });
    expect(readFileSync(join(out, "deep", SECRETS.name), "utf8")).to.equal(`${SECRETS.content}\n`);
    const sum = createHash("sha256")
      .update(readFileSync(join(out, "noise")))
      .digest("hex");
    expect(readFileSync(join(out, "sum"), "utf8")).to.equal(`${sum}\n`);

    expect((await client("logs", jobId, "--identity", identityFile)).json).to.include({ stdout: SECRETS.out });
    expect(await client("verify", jobId)).to.include({ code: 0 });

    const sealed = join(bench.dir, "outputs.age");
    await withReader(outputs?.cid ?? "", (store, cid) => store.exportTo(cid, sealed, { maxBytes: 1 << 23 }));
    const opened = openWithAge(sealed, identityFile);
    if (opened === undefined) return this.skip(); // the package age is not installed
    const files = new Map<string, string>();
    const archive = async function* () {
      yield opened;
    };
    for await (const { path, content } of readTar(archive())) files.set(path, String(await bytesOf(content)));
    expect([...files.keys()]).to.deep.equal([
      "skipped.json",
      `outputs/deep/${SECRETS.name}`,
      "outputs/noise",
      "outputs/sum",
    ]);
    expect(files.get("skipped.json")).to.equal(JSON.stringify([`${SECRETS.name}-link: link`]));
  });

  for (const at of ["collected:before", "published:before"]) {
    it(`gives one result and one set of encrypted files when it is killed at ${at}`, async () => {
      node = startNode(registered.flags, { BERTH_FAULT_AT: at });
      await node.ready;
      const { jobId } = await order();
      expect(await node.ended).to.equal("SIGKILL");
      node = startNode(registered.flags);
      const result = await resultOf(jobId);
      expect(result).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 0 });
      expect(await bench.results(jobId)).to.have.length(1);
      const store = await openEmbeddedStore({ dir: join(registered.dataDir, "content") });
      const pins = (await store.pins()).filter(({ owner }) => owner === `${jobId}/0`).map(({ cid }) => cid);
      await store.close();
      const { outputs, stdout, stderr } = result;
      const [claim] = await bench.results(jobId);
      const record = digestToCid(claim?.resultHash ?? "0x");
      expect(pins.sort()).to.deep.equal([outputs?.cid, stdout?.cid, stderr?.cid, record].sort());
      const sealed = join(bench.dir, `${jobId}.age`);
      await withReader(outputs?.cid ?? "", (reader, cid) => reader.exportTo(cid, sealed, { maxBytes: 1 << 23 }));
      const paths: string[] = [];
      for await (const { path } of readTar(openSealed(createReadStream(sealed), identity, "outputs"))) paths.push(path);
      expect(paths).to.have.length(4);
    });
  }

  it("says of a recipient that nothing can be encrypted to that the spec is invalid, before anything runs", async () => {
    node = startNode(registered.flags);
    await node.ready;
    const { jobId } = await order(`age1${"q".repeat(58)}`);
    const { outcome, message, startedAt } = await resultOf(jobId);
    expect({ outcome, startedAt }).to.deep.equal({ outcome: "spec-invalid", startedAt: null });
    expect(message).to.include("encryptTo");
  });

  async function resultOf(jobId: JobId): Promise<Result> {
    const claim = await eventually("a result is on chain", async () => (await bench.results(jobId))[0], 60_000);
    return await withReader(digestToCid(claim.resultHash), async (store, cid) =>
      parseResult(JSON.parse(new TextDecoder().decode(await store.getBytes(cid, { maxBytes: 1 << 20 })))),
    );
  }

  /** Fetches by CID from the node's public address into a store of its own. */
  async function withReader<T>(
    cid: string,
    use: (store: Awaited<ReturnType<typeof openEmbeddedStore>>, cid: string) => Promise<T>,
  ): Promise<T> {
    const store = await openEmbeddedStore({ dir: join(bench.dir, `reader-${readers++}`) });
    try {
      const { url } = registered;
      await eventually(
        "the node serves",
        async () => (await fetch(`${url}/health`).catch(() => undefined))?.ok,
        30_000,
      );
      await fetchContent(cid, { sources: [url], store, maxBytes: 1 << 23, log });
      return await use(store, cid);
    } finally {
      await store.close();
    }
  }
  let readers = 0;

  /** `berth` as a stranger to the node calls it, with nothing but the chain. */
  async function client(...args: string[]): Promise<{ code: number; json: object; error: string | undefined }> {
    const where = ["--rpc", bench.anvil.url, "--deployment", bench.deploymentFile, "--json", "--quiet"];
    const own = ["--content-dir", join(bench.dir, `client-${readers++}`)];
    const env = { ...process.env, BERTH_IDENTITY_DIR: join(bench.dir, "no-identities") };
    return await new Promise((resolve) => {
      execFile(process.execPath, [berth, ...where, ...own, ...args], { env }, (error, stdout) => {
        const json = JSON.parse(stdout || "{}");
        resolve({ code: error === null ? 0 : Number(error.code), json, error: json.error?.code });
      });
    });
  }
});

function filesIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.flatMap((entry) => (entry.isFile() ? [join(entry.parentPath, entry.name)] : []));
}
