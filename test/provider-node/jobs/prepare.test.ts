import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, openEmbeddedStore, startGateway } from "@berth/content";
import { canonicalBytes, documentHash, type Hex, type JobId, MarketError, type Spec, termsOf } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { packImage } from "../../../client/src/image/index.ts";
import { configSchema } from "../../../provider-node/src/config.ts";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import type { AttemptSpec } from "../../../provider-node/src/engine/types.ts";
import { type ImagesOptions, openImages } from "../../../provider-node/src/image/images.ts";
import { prepareAttempt } from "../../../provider-node/src/jobs/prepare.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { imageSigner } from "../../support/image-signatures.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { type RegistryMood, startRegistry } from "../../support/registry.ts";
import { aSpec } from "../../support/specs.ts";

const jobId = `0x${"11".repeat(32)}` as JobId;
const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };

describe("prepareAttempt", function () {
  this.timeout(10_000);
  let dir: string;
  let content: ContentStore;
  let server: Server | undefined;
  let prepared: number;
  let attempted: AttemptSpec[];

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "berth-prepare-"));
    mkdirSync(join(dir, "staging"));
    content = await openEmbeddedStore({ dir: join(dir, "content") });
    prepared = 0;
    attempted = [];
  });
  afterEach(async () => {
    server?.closeAllConnections();
    server?.close();
    server = undefined;
    await content.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const imagesWith = (settings: object = {}, change: Partial<ImagesOptions> = {}) =>
    openImages({
      dir: join(dir, "images"),
      settings: configSchema.shape.images.parse(settings),
      allowPrivate: true,
      minFreeBytes: 0,
      peersFor: () => [],
      now: () => 1000,
      ...change,
    });

  /** Only what preparing touches. */
  const tools = (change: Partial<JobTools> = {}) =>
    ({
      content,
      self: { runId: "test" },
      stagingDir: join(dir, "staging"),
      maxContentBytes: 2 ** 20,
      minFreeBytes: 0,
      maxOutputFiles: 1000,
      now: () => 1000,
      sourcesOf: async () => [],
      images: imagesWith(),
      machine: {
        hasImage: async () => true,
        engine: {
          prepare: async (spec: AttemptSpec) => {
            prepared += 1;
            attempted.push(spec);
          },
        },
      },
      ...change,
    }) as unknown as JobTools;

  const attempt = { jobId, replica: 0, attempt: 0, facts: {}, state: "fetching" } as unknown as AttemptRow;
  const jobOf = (specHash: Hex, spec?: Spec) => {
    const resources = spec && { ...spec.resources, maxSeconds: spec.timeouts.runSeconds };
    const request = aRequest({ specHash, ...resources, acceptWindow: 1, submitWindow: 400 });
    return { jobId, replica: 0, matchedAt: 1000, terms: termsOf(domain, request, anOffer(), 0) } as unknown as JobRow;
  };
  const prepare = async (change: Partial<Spec>, toolChange: Partial<JobTools> = {}) => {
    const spec = aSpec(change);
    await content.addBytes(canonicalBytes(spec));
    return prepareAttempt(jobOf(documentHash(spec), spec), attempt, tools(toolChange), context);
  };
  const inputs = async (count: number, bytes: number) => {
    const { cid } = await content.addBytes(Buffer.alloc(bytes, "x"));
    return Array.from({ length: count }, (_, at) => ({ cid, path: `/in${at}` }));
  };

  it("gives up by the time to start on a source that sends a byte now and then", async () => {
    let dripped = 0;
    server = createServer((_request, response) => {
      response.writeHead(200, { "Content-Type": "application/vnd.ipld.car" });
      const timer = setInterval(() => {
        response.write(Buffer.from([0x3a]));
        dripped += 1;
      }, 50);
      response.on("close", () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const late = { now: () => (dripped < 5 ? 1000 : 1201), sourcesOf: async () => [{ url, publicOnly: false }] };
    const change = await prepareAttempt(jobOf(`0x${"22".repeat(32)}`), attempt, tools(late), context);
    expect(change).to.deep.include({ state: "collected", outcome: "inputs-unavailable" });
    expect(change.message).to.match(/^No source delivered \w+\.$/);
  });

  it("says what was missing before, when the time is over in the middle of another try", async () => {
    const spec = aSpec();
    await content.addBytes(canonicalBytes(spec));
    const missing = new MarketError("CONTENT_UNAVAILABLE", "No source delivered bafkreiabsent.", { retryable: true });
    const over = tools({ now: () => 100_000 });
    const job = jobOf(documentHash(spec), spec);
    const change = await prepareAttempt(job, attempt, over, context, missing);
    expect(change).to.deep.include({ outcome: "inputs-unavailable", message: missing.message });
  });

  it("calls nothing late while it does not see its chain: what is missing is tried again", async () => {
    const blind = tools({ now: () => 100_000, isFollowed: () => false });
    const failed = await prepareAttempt(jobOf(`0x${"22".repeat(32)}`), attempt, blind, context).catch((e) => e);
    expect(failed).to.include({ code: "CONTENT_UNAVAILABLE" });
  });

  it("has one budget for all that a job brings, and leaves nothing of what passed it", async () => {
    expect(await prepare({ inputs: await inputs(3, 300_000) })).to.deep.include({ state: "prepared" });
    const change = await prepare({ inputs: await inputs(4, 300_000) });
    expect(change).to.deep.include({ state: "collected", outcome: "inputs-unavailable" });
    expect(prepared).to.equal(1);
    expect(readdirSync(join(dir, "staging"))).to.deep.equal([]);
  });

  it("counts folders too", async () => {
    const tree = join(dir, "tree");
    for (let at = 0; at < 300; at++) mkdirSync(join(tree, String(at)), { recursive: true });
    writeFileSync(join(tree, "file"), "x");
    const { cid } = await content.addPath(tree);
    const many = (count: number) => Array.from({ length: count }, (_, at) => ({ cid, path: `/in${at}` }));
    expect(await prepare({ inputs: many(3) })).to.deep.include({ state: "prepared" });
    expect(await prepare({ inputs: many(4) })).to.deep.include({ outcome: "inputs-unavailable" });
  });

  it("refuses more output files than this node collects", async () => {
    const outputs = { path: "/out", maxBytes: 1, maxFiles: 1001 };
    expect(await prepare({ outputs })).to.deep.include({ state: "collected", outcome: "spec-invalid" });
  });

  it("refuses to promise evidence that it does not make", async () => {
    const change = await prepare({ attestation: "tpm2" });
    expect(change).to.deep.include({ state: "collected", outcome: "spec-invalid" });
    expect(change.message).to.match(/tpm2 evidence, which this node does not offer; ask for the trait attest-tpm2/);
    const attester = { type: "exec" } as JobTools["attester"];
    expect(await prepare({ attestation: "tpm2" }, { attester })).to.deep.include({ outcome: "spec-invalid" });
    expect(await prepare({ attestation: "exec" }, { attester })).to.deep.include({ state: "prepared" });
  });

  it("runs a job that asks for gVisor in gVisor, or not at all", async () => {
    const refused = await prepare({ isolation: "gvisor" });
    expect(refused).to.deep.include({ state: "collected", outcome: "spec-invalid" });
    expect(refused.message).to.match(/gVisor, which this node does not offer; ask for the trait isolation-gvisor/);
    expect(await prepare({ isolation: "gvisor" }, { servesGvisor: () => false })).to.include({
      outcome: "spec-invalid",
    });
    const unknown = prepare({ isolation: "gvisor" }, { servesGvisor: () => undefined });
    expect(await unknown.catch((thrown: unknown) => thrown)).to.include({
      code: "ENGINE_UNAVAILABLE",
      retryable: true,
    });
    expect(prepared).to.equal(0);
    expect(await prepare({ isolation: "gvisor" }, { servesGvisor: () => true })).to.include({ state: "prepared" });
    expect(attempted.at(-1)).to.have.property("isolation", "gvisor");
    expect(await prepare({})).to.include({ state: "prepared" });
    expect(attempted.at(-1)).to.not.have.property("isolation");
    expect(await prepare({ isolation: "vm" }, { servesGvisor: () => true })).to.include({ outcome: "spec-invalid" });
  });

  it("does not blame the requester for a gVisor that was offered at the match and has gone since, and charges nothing", async () => {
    const asked: unknown[] = [];
    const broken = (had: boolean) => ({
      servesGvisor: () => false,
      hadOffered: (trait: string, at: number) => {
        asked.push([trait, at]);
        return had;
      },
    });
    const change = await prepare({ isolation: "gvisor" }, broken(true));
    expect(change).to.deep.include({ state: "collected", outcome: "cancelled" });
    expect(change.message).to.equal("This node offered gVisor, and can no longer run jobs in it.");
    expect(change.facts).to.include({ unserved: true });
    expect(asked).to.deep.equal([["isolation-gvisor", 1000]]);
    const never = await prepare({ isolation: "gvisor" }, broken(false));
    expect(never).to.deep.include({ outcome: "spec-invalid" });
    expect(never.facts).to.not.have.property("unserved");
    expect(prepared).to.equal(0);
  });

  it("fetches nothing while the disk is nearly full, and does not blame the requester", async () => {
    const error = await prepare({}, { minFreeBytes: Number.MAX_SAFE_INTEGER }).catch((thrown: unknown) => thrown);
    expect(error).to.deep.include({ code: "DISK_LOW", retryable: true });
  });

  describe("with an image that is not here yet", () => {
    let image: Awaited<ReturnType<typeof packImage>>;
    let imported: string[];
    let undo: (() => Promise<unknown>)[];
    beforeEach(async () => {
      undo = [];
      imported = [];
      mkdirSync(join(dir, "rootfs"));
      writeFileSync(join(dir, "rootfs/file"), "content");
      image = await packImage({ rootfs: join(dir, "rootfs"), outDir: join(dir, "layout") });
    });
    afterEach(async () => {
      for (const step of undo.splice(0)) await step();
    });

    /** A machine that remembers what was imported, of what size. */
    const machine = () => ({
      hasImage: async (digest: string) => imported.includes(digest),
      importImage: async (layout: string, digest: string) => {
        expect(readdirSync(join(layout, "blobs/sha256"))).to.include(digest.slice(7));
        imported.push(digest);
      },
      engine: {
        prepare: async () => {
          prepared += 1;
        },
      },
    });
    const registry = async (mood: RegistryMood = {}) => {
      const started = await startRegistry(mood);
      undo.push(started.close);
      started.push(image.dir);
      return started;
    };
    const withImage = (settings: object = {}, change: Partial<ImagesOptions> = {}) =>
      ({ machine: machine(), images: imagesWith(settings, change) }) as unknown as Partial<JobTools>;

    it("has it from the registry that the spec names, once", async () => {
      const { source, requests } = await registry({ asksForToken: true });
      const change = await prepare({ image: { digest: image.digest, sources: [source] } }, withImage());
      expect(change).to.deep.include({ state: "prepared" });
      expect(change.facts?.inBytes).to.equal(image.bytes);
      const asked = requests.length;
      await prepare({ image: { digest: image.digest, sources: [source] } }, withImage());
      expect([imported, requests.length, prepared]).to.deep.equal([[image.digest], asked, 2]);
    });

    it("has it from another node where nobody that the job names delivers, and then serves it to others for a while", async () => {
      const other = await openEmbeddedStore({ dir: join(dir, "other") });
      undo.push(() => other.close());
      const gateway = await startGateway({ store: other, host: "127.0.0.1", port: 0, log: context.log });
      undo.push(() => gateway.close());
      const { cid } = await other.addPath(image.dir);
      const peersFor = (digest: string) => (digest === image.digest ? [{ url: gateway.url, publicOnly: false }] : []);
      const spec = { image: { digest: image.digest, cid, sources: ["oci://127.0.0.1:1/team/app"] } };
      expect(await prepare(spec, withImage({ shareSeconds: 100 }, { peersFor }))).to.deep.include({
        state: "prepared",
      });
      expect(await content.pins()).to.deep.equal([{ cid, owner: "image", until: 1100 }]);
      await prepare(spec, withImage({ shareSeconds: 200 }));
      expect(await content.pins()).to.deep.equal([{ cid, owner: "image", until: 1200 }]);
    });

    it("keeps nothing for others when the operator shares nothing", async () => {
      const { cid } = await content.addPath(image.dir);
      const spec = { image: { digest: image.digest, cid } };
      expect(await prepare(spec, withImage({ shareSeconds: 0 }))).to.deep.include({ state: "prepared" });
      expect(await content.pins()).to.deep.equal([]);
    });

    it("does not run it unsigned where the operator wants a signature, though it is in the store already", async () => {
      const signer = imageSigner("p256", join(dir, "cosign.pub"));
      const { source, put, tag } = await registry();
      imported.push(image.digest);
      const spec = { image: { digest: image.digest, sources: [source] } };
      const policy = { policy: [{ keys: [signer.publicKeyFile] }] };
      const change = await prepare(spec, withImage(policy));
      expect(change).to.deep.include({ state: "collected", outcome: "image-mismatch" });
      expect(change.message).to.equal(`The image ${image.digest} has no signature that this node accepts.`);

      const { payload, manifest } = signer.sign(image.digest);
      put(payload);
      tag(`${image.digest.replace(":", "-")}.sig`, put(manifest));
      expect(await prepare(spec, withImage(policy))).to.deep.include({ state: "prepared" });
    });

    it("says nothing of what a place answered, and tries again until the time to start", async () => {
      const { source } = await registry({ mischief: (_, response) => response.writeHead(418).end() !== undefined });
      const spec = { image: { digest: image.digest, sources: [source] } };
      const error = await prepare(spec, withImage()).catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: "CONTENT_UNAVAILABLE", retryable: true });
      const job = aSpec(spec);
      await content.addBytes(canonicalBytes(job));
      const late = tools({ ...withImage(), now: () => 100_000 });
      const change = await prepareAttempt(jobOf(documentHash(job), job), attempt, late, context, error);
      expect(change).to.deep.include({ state: "collected", outcome: "inputs-unavailable" });
      expect(change.message).to.equal(`No place delivered the image ${image.digest}; asked: a registry.`);
    });

    it("gives up by the time to start on a registry that never ends a layer", async () => {
      let isOver = false;
      const mischief: RegistryMood["mischief"] = (path, response) => {
        if (!path.endsWith(image.layerDigest)) return false;
        response.writeHead(200).write("x");
        isOver = true;
        return true;
      };
      const { source } = await registry({ mischief });
      const late = { ...withImage(), now: () => (isOver ? 100_000 : 1000) };
      const change = await prepare({ image: { digest: image.digest, sources: [source] } }, late);
      expect(change).to.deep.include({ state: "collected", outcome: "inputs-unavailable" });
      expect(readdirSync(join(dir, "staging"))).to.deep.equal([]);
    });
  });
});
