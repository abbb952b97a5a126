import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type ContentStore, fetchContent, openEmbeddedStore } from "@berth/content";
import { digestToCid, type JobId, jobMarketAbi, parseResult, type Result } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import type { PackedImage } from "../../../client/src/image/index.ts";
import { eventually } from "../../support/eventually.ts";
import { imageSigner } from "../../support/image-signatures.ts";
import { busyboxImage } from "../../support/images.ts";
import { startRegistry, type TestRegistry } from "../../support/registry.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { type RegisteredNode, registerNode } from "./registered-node.ts";

const REFUNDED = 7;

describe("berth-node and images that are not on IPFS", function () {
  this.timeout(100_000);
  let bench: MarketBench;
  let registry: TestRegistry;
  let image: PackedImage;
  let registered: RegisteredNode;
  let node: NodeProcess | undefined;
  let store: ContentStore;

  before(async () => {
    bench = await openMarketBench();
    image = await busyboxImage();
    registry = await startRegistry({ asksForToken: true });
    registry.push(image.dir);
    const { publicKeyFile, sign } = imageSigner("p256", join(bench.dir, "cosign.pub"));
    const { payload, manifest } = sign(image.digest);
    registry.put(payload);
    registry.tag(`${image.digest.replace(":", "-")}.sig`, registry.put(manifest));
    registered = await registerNode(bench, "i", {
      "images.policy": JSON.stringify([{ match: "registry.example/team/*", keys: [publicKeyFile] }]),
    });
    store = await openEmbeddedStore({ dir: join(bench.dir, "reader") });
    node = startNode(registered.flags);
    await node.ready;
  });

  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
  });

  after(async () => {
    await node?.kill("SIGTERM");
    await store?.close();
    await registry?.close();
    if (registered !== undefined) await berthNode([...registered.flags, "clean"]);
    await bench?.close();
  });

  it("runs a signed one from a registry that wants a token, and pulls it once", async () => {
    const spec = { image: { digest: image.digest, sources: [registry.source] } };
    const matched = await bench.match({ ...spec, command: ["/bin/sh", "-c", "exit 7"] });
    expect(await resultOf(matched.jobId)).to.deep.include({ outcome: "exited", exitCode: 7 });
    const blobs = () => registry.requests.filter(({ path }) => path.endsWith(image.layerDigest)).length;
    const pulled = blobs();
    expect(pulled).to.be.above(0);
    const again = await bench.match({ ...spec, command: ["/bin/sh", "-c", "exit 8"] });
    expect(await resultOf(again.jobId)).to.deep.include({ outcome: "exited", exitCode: 8 });
    expect(blobs()).to.equal(pulled);
  });

  it("gives back one that nobody it trusts has signed, or ends it unrun where giving back would cost", async () => {
    const given = await bench.match(await unsigned("first"));
    await eventually("it is refunded", async () => (await stateOf(given.jobId)) === REFUNDED, 60_000);
    const explained = await berthNode([...registered.flags, "explain", given.jobId]);
    expect(JSON.parse(explained.stdout).decisions[0]).to.include({ code: "image-unsigned", what: "match" });

    const spec = await unsigned("second");
    const { jobId } = await bench.match(spec);
    const result = await resultOf(jobId);
    expect(result).to.deep.include({ outcome: "image-mismatch", exitCode: null });
    expect(result.message).to.equal(`The image ${spec.image.digest} has no signature that this node accepts.`);
    const kept = readdirSync(join(registered.dataDir, "images/signatures"));
    expect(kept).to.deep.equal([`${image.digest.replace(":", "-")}.json`]);
  });

  /** The image again, under a digest of its own. */
  async function unsigned(name: string) {
    const manifest = JSON.parse(Buffer.from(await manifestOf(image)).toString());
    const digest = registry.put(JSON.stringify({ ...manifest, annotations: { name } }));
    return { image: { digest, sources: [registry.source] } };
  }

  async function stateOf(jobId: JobId): Promise<number> {
    const market = { address: bench.deployment.market, abi: jobMarketAbi } as const;
    return (await bench.client.readContract({ ...market, functionName: "replicaOf", args: [jobId, 0] })).state;
  }

  async function manifestOf({ digest }: PackedImage): Promise<Uint8Array> {
    const answer = await fetch(`${registry.url}/v2/team/app/blobs/${digest}`, {
      headers: { Authorization: "Bearer a-token-for-anyone" },
    });
    return new Uint8Array(await answer.arrayBuffer());
  }

  async function resultOf(jobId: JobId): Promise<Result> {
    const [claim] = await eventually(
      "a result is on chain",
      async () => {
        const found = await bench.results(jobId);
        return found.length > 0 ? found : undefined;
      },
      60_000,
    );
    const cid = digestToCid(claim?.resultHash ?? "0x");
    const log = pino({ level: "silent" });
    await fetchContent(cid, { sources: [registered.url], store, maxBytes: 1 << 20, log });
    const bytes = await store.getBytes(cid, { maxBytes: 1 << 20 });
    return parseResult(JSON.parse(new TextDecoder().decode(bytes)));
  }
});
