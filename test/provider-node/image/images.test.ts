import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect } from "chai";
import type { PackedImage } from "../../../client/src/image/index.ts";
import { selfSigned } from "../../support/certificate.ts";
import { asDockerImage } from "../../support/docker-image.ts";
import { digestOf, type RegistryMood, startRegistry, type TestRegistry } from "../../support/registry.ts";
import { failure, imageBench } from "./support.ts";

describe("an image is brought in", function () {
  this.timeout(60_000);
  let bench: ReturnType<typeof imageBench>;
  let image: PackedImage;
  let undo: (() => Promise<void>)[];
  beforeEach(async () => {
    undo = [];
    bench = imageBench();
    image = await bench.pack("app");
  });
  afterEach(async () => {
    for (const step of undo.splice(0)) await step();
    bench.close();
  });

  const registry = async (mood: RegistryMood = {}, layout = image.dir): Promise<TestRegistry> => {
    const started = await startRegistry(mood);
    undo.push(started.close);
    started.push(layout);
    return started;
  };
  const web = async (listener: RequestListener): Promise<string> => {
    const server = createServer(listener).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    undo.push(async () => void server.close().closeAllConnections());
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  /** Serves a folder, and says what was asked for. */
  const webFolder = async (dir: string) => {
    const paths: string[] = [];
    const url = await web(({ url = "" }, response) => {
      paths.push(url);
      const file = join(dir, url);
      if (existsSync(file)) response.end(readFileSync(file));
      else response.writeHead(404).end();
    });
    return { url, paths };
  };
  /** Runs a script where this machine has the public address 9.9.9.9, and nothing else is. Returns what it printed. */
  const inPublic = (script: string, args: string[], env: Record<string, string> = {}): string => {
    const inside = `ip link set lo up && ip address add 9.9.9.9/32 dev lo && exec "$0" "$@"`;
    const child = [process.execPath, join(import.meta.dirname, script), ...args];
    const options = { encoding: "utf8", env: { ...process.env, ...env } } as const;
    return execFileSync("unshare", ["--net", "sh", "-c", inside, ...child], options);
  };
  const from = (...sources: string[]) => ({ digest: image.digest, sources });
  const parts = () => readdirSync(join(bench.dir, "images/blobs/sha256")).filter((name) => name.endsWith(".part"));
  const blobOf = (digest: string) => join(bench.dir, "images/blobs/sha256", digest.slice(7));

  it("from a registry that wants a token and sends blobs from elsewhere, which never sees the token", async () => {
    const store = await startRegistry();
    undo.push(store.close);
    store.push(image.dir);
    const redirectBlob = (digest: string) => `${store.url}/v2/team/app/blobs/${digest}`;
    const { source, requests } = await registry({ asksForToken: true, redirectBlob });
    const { bytes, architecture } = await bench.bring(bench.open(), from(source));
    expect(bytes).to.equal(image.bytes);
    expect(architecture).to.match(/^(amd64|arm64)$/);
    expect(requests.filter(({ path }) => path.startsWith("/token"))).to.have.length(1);
    expect(store.requests).to.have.length(2);
    expect(store.requests.map(({ authorization }) => authorization)).to.deep.equal([undefined, undefined]);
    expect(existsSync(bench.target)).to.equal(false);
  });

  it("from a registry on the internet, over TLS and nothing less", () => {
    const [key, cert] = [join(bench.dir, "key.pem"), join(bench.dir, "cert.pem")];
    const made = selfSigned("9.9.9.9");
    writeFileSync(key, made.key);
    writeFileSync(cert, made.cert);
    const args = [join(bench.dir, "images"), bench.target, image.dir, image.digest, "9.9.9.9", key, cert];
    const said = inPublic("tls-child.ts", args, { NODE_EXTRA_CA_CERTS: cert });
    expect(said).to.contain(`brought ${image.bytes} bytes`);
    expect(said).to.contain("SOURCE_REFUSED").and.to.contain("plain HTTP refused: CONTENT_UNAVAILABLE");
    args[0] = join(bench.dir, "others");
    expect(inPublic("tls-child.ts", args)).to.contain("SOURCE_UNREACHABLE").and.to.not.contain("brought");
  });

  it("from a registry that has it in Docker's format, by the digest of that", async () => {
    image = await bench.pack("zipped", "zipped", 6);
    const digest = asDockerImage(image.dir, image.digest);
    const { source } = await registry();
    const { bytes } = await bench.bring(bench.open(), { digest, sources: [source] });
    expect(bytes).to.be.above(image.bytes);
    const { mediaType } = JSON.parse(readFileSync(blobOf(digest), "utf8"));
    expect(mediaType).to.equal("application/vnd.docker.distribution.manifest.v2+json");
  });

  it("from a layout folder on a web server", async () => {
    const { url } = await webFolder(bench.dir);
    expect((await bench.bring(bench.open(), from(`${url}/app/`))).bytes).to.equal(image.bytes);
  });

  for (const format of ["gnu", "pax", "ustar"]) {
    it(`from an archive (${format})`, async () => {
      bench.archive(image.dir, `--format=${format}`);
      const { url } = await webFolder(bench.dir);
      expect((await bench.bring(bench.open(), from(`${url}/app.tar`))).bytes).to.equal(image.bytes);
    });
  }

  it("from the operator's folders before anyone is asked", async () => {
    const { source, requests } = await registry();
    await bench.bring(bench.open({ files: [bench.dir] }), from(source));
    await bench.bring(bench.open({ files: ["/nowhere", image.dir] }), from(source));
    expect(requests).to.deep.equal([]);
  });

  it("from the next place when one has nothing, other bytes, or half of it", async () => {
    const lying = await registry({
      mischief: (path, response) => path.includes("/blobs/") && response.end("other bytes") !== undefined,
    });
    bench.archive(image.dir);
    truncateSync(`${image.dir}.tar`, statSync(`${image.dir}.tar`).size / 2);
    const { url } = await webFolder(bench.dir);
    const { source } = await registry();
    const places = ["oci://127.0.0.1:1/team/app", `${url}/none/`, lying.source, `${url}/app.tar`, source];
    expect((await bench.bring(bench.open(), from(...places))).bytes).to.be.above(0);
    const skipped = bench.lines.filter(({ msg }) => msg === "image not had from here");
    expect(skipped.map(({ from: place, code }) => [place, code])).to.deep.equal([
      [places[0], "SOURCE_UNREACHABLE"],
      [places[1], "SOURCE_ANSWERED"],
      [places[2], "IMAGE_DIGEST_MISMATCH"],
      [places[3], "SOURCE_ANSWERED"],
    ]);
  });

  it("from IPFS last, and says without any answer what was asked when nobody has it", async () => {
    const { url } = await webFolder(bench.dir);
    let asked = "";
    const fromIpfs = async (cid: string, target: string) => {
      asked = cid;
      cpSync(image.dir, target, { recursive: true });
      return 5;
    };
    const { source } = await registry({}, (await bench.pack("other")).dir);
    const places = { ...from(source, `${url}/none/`, `${url}/none.tar`), cid: "bafycid" };
    expect((await bench.bring(bench.open(), places, { fromIpfs })).bytes).to.equal(5);
    expect(asked).to.equal("bafycid");
    const error = await failure(bench.bring(bench.open(), from(source, `${url}/none/`, `${url}/none.tar`)));
    expect(error).to.include({ code: "CONTENT_UNAVAILABLE", retryable: true });
    expect(error.message).to.equal(
      `No place delivered the image ${image.digest}; asked: a registry, a web folder, an archive.`,
    );
  });

  it("without what is here already: neither blobs of another image, nor those of a try that failed", async () => {
    const twin = await bench.pack("twin", "app");
    expect(twin.layerDigest).to.equal(image.layerDigest);
    let isBroken = true;
    const mischief: RegistryMood["mischief"] = (path, response) => {
      const breaks = isBroken && path.endsWith(image.layerDigest);
      if (breaks) response.writeHead(503).end();
      return breaks;
    };
    const { source, requests, push } = await registry({ mischief });
    push(twin.dir);
    const images = bench.open();
    expect(await failure(bench.bring(images, from(source)))).to.have.property("code", "CONTENT_UNAVAILABLE");
    isBroken = false;
    requests.length = 0;
    await bench.bring(images, from(source));
    expect(requests.map(({ path }) => path)).to.deep.equal([`/v2/team/app/blobs/${image.layerDigest}`]);
    await bench.bring(images, { digest: twin.digest, sources: [source] });
    expect(requests.slice(1).map(({ path }) => path.split("/").at(-1))).to.deep.equal([twin.digest, twin.configDigest]);
  });

  it("again where a blob was damaged on this disk", async () => {
    const { source, requests } = await registry();
    await bench.bring(bench.open(), from(source));
    truncateSync(blobOf(image.layerDigest), 100);
    const bytes = readFileSync(blobOf(image.configDigest));
    writeFileSync(blobOf(image.configDigest), bytes.fill(0x20, 5, 6));
    requests.length = 0;
    await bench.bring(bench.open(), from(source));
    expect(requests.map(({ path }) => path.split("/").at(-1))).to.deep.equal([image.configDigest, image.layerDigest]);
  });

  describe("but not", () => {
    const refusal = async (mood: RegistryMood, stallMs = 30_000) => {
      const { source } = await registry(mood);
      const error = await failure(bench.bring(bench.open({}, { stallMs }), from(source)));
      expect(parts()).to.deep.equal([]);
      expect(existsSync(bench.target)).to.equal(false);
      return error;
    };
    const endless = (response: { write(chunk: Buffer): boolean; once(event: "drain", next: () => void): unknown }) => {
      const more = () => {
        while (response.write(Buffer.alloc(65_536)));
        response.once("drain", more);
      };
      more();
      return true;
    };

    it("with a manifest that is swapped for another one, at any request", async () => {
      const other = await bench.pack("other");
      const bytes = readFileSync(join(other.dir, "blobs/sha256", other.digest.slice(7)));
      let count = 0;
      const mischief: RegistryMood["mischief"] = (path, response) => {
        if (!path.endsWith(image.digest)) return false;
        count += 1;
        if (count === 1) return false;
        response.end(bytes);
        return true;
      };
      const { source } = await registry({ mischief });
      await bench.bring(bench.open(), from(source));
      execFileSync("rm", [blobOf(image.digest)]);
      const error = await failure(bench.bring(bench.open(), from(source)));
      expect(error.code).to.equal("IMAGE_DIGEST_MISMATCH");
      expect(error.message).to.contain(image.digest).and.to.contain(other.digest);
    });

    it("with a layer that has more bytes than the manifest says, however many come", async () => {
      const mischief: RegistryMood["mischief"] = (path, response) =>
        path.endsWith(image.layerDigest) && endless(response);
      expect(await refusal({ mischief })).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
    });

    it("with a manifest without end", async () => {
      const mischief: RegistryMood["mischief"] = (path, response) => path.includes("/manifests/") && endless(response);
      expect(await refusal({ mischief })).to.have.property("code", "IMAGE_TOO_LARGE");
    });

    it("with a token answer without end, or a token that is no header", async () => {
      const flood: RegistryMood["mischief"] = (path, response) => path.startsWith("/token") && endless(response);
      expect(await refusal({ asksForToken: true, mischief: flood })).to.have.property("code", "CONTENT_UNAVAILABLE");
      expect(bench.lines.at(-1)).to.include({ code: "SOURCE_ANSWERED", reason: "It sent more than 65536 bytes." });
      const split: RegistryMood["mischief"] = (path, response) =>
        path.startsWith("/token") && response.end('{"token":"a\\r\\nHost: b"}') !== undefined;
      expect(await refusal({ asksForToken: true, mischief: split })).to.have.property("code", "CONTENT_UNAVAILABLE");
      expect(bench.lines.at(-1)).to.include({ code: "SOURCE_ANSWERED", reason: "Its token service sent no token." });
    });

    it("from a registry that falls silent, redirects for ever or to another protocol", async () => {
      const silent: RegistryMood["mischief"] = (path, response) =>
        path.includes("/blobs/") && response.writeHead(200).write("x") !== undefined;
      expect(await refusal({ mischief: silent }, 200)).to.have.property("code", "CONTENT_UNAVAILABLE");
      expect(bench.lines.at(-1)).to.include({ code: "SOURCE_STALLED" });
      let hops = 0;
      const loop: RegistryMood["mischief"] = (path, response) => {
        hops += 1;
        response.writeHead(302, { Location: `${path}x` }).end();
        return true;
      };
      expect(await refusal({ mischief: loop })).to.have.property("code", "CONTENT_UNAVAILABLE");
      expect(hops).to.equal(6);
      const store = await registry();
      const withAccount = `${store.url.replace("//", "//user:secret@")}/v2/team/app/blobs/`;
      for (const place of ["file:///etc/passwd#", withAccount, "no address:"]) {
        const error = await refusal({ redirectBlob: (digest) => `${place}${digest}` });
        expect(error).to.have.property("code", "CONTENT_UNAVAILABLE");
      }
      expect(store.requests).to.deep.equal([]);
    });

    it("a list of platforms: it names them", async () => {
      const manifests = [
        { digest: image.digest, platform: { os: "linux", architecture: "amd64" } },
        { digest: digestOf("arm"), platform: { os: "linux", architecture: "arm64", variant: "v8" } },
      ];
      const { source, put } = await registry();
      const digest = put(JSON.stringify({ schemaVersion: 2, manifests }));
      const error = await failure(bench.bring(bench.open(), { digest, sources: [source] }));
      expect(error.code).to.equal("IMAGE_REFUSED");
      expect(error.message).to.contain(
        `name one of them: ${image.digest} (linux/amd64), ${digestOf("arm")} (linux/arm64/v8)`,
      );
    });

    it("one that unpacks to more than it may, whoever packed it so", async () => {
      image = await bench.pack("bomb", Buffer.alloc(2 ** 24 + 1), 9);
      expect(image.bytes).to.be.below(100_000);
      const { source } = await registry();
      expect(await failure(bench.bring(bench.open(), from(source)))).to.have.property("code", "IMAGE_TOO_LARGE");
    });

    it("one larger than the job's budget, of which no layer is asked for", async () => {
      const { source, requests } = await registry();
      const small = { maxBytes: image.bytes - 1 };
      const error = await failure(bench.bring(bench.open(), from(source), small));
      expect(error.code).to.equal("IMAGE_TOO_LARGE");
      expect(requests).to.have.length(1);
      bench.archive(image.dir);
      const { url } = await webFolder(bench.dir);
      const other = await failure(bench.bring(bench.open(), from(`${url}/app.tar`), small));
      expect(other.code).to.equal("IMAGE_TOO_LARGE");
    });

    it("onto the disk's reserve: it is this machine that has no room, and no layer is asked for", async () => {
      const { source, requests } = await registry();
      const images = bench.open({}, { minFreeBytes: Number.MAX_SAFE_INTEGER });
      const error = await failure(bench.bring(images, from(source)));
      expect(error).to.include({ code: "DISK_LOW", retryable: true });
      expect(requests).to.have.length(1);
    });

    it("from an archive with other bytes under a blob's name, or that is no archive", async () => {
      writeFileSync(join(image.dir, "blobs/sha256", image.layerDigest.slice(7)), "other bytes");
      bench.archive(image.dir);
      writeFileSync(join(bench.dir, "page.tar"), "<html>".repeat(1000));
      const { url } = await webFolder(bench.dir);
      const wrong = await failure(bench.bring(bench.open(), from(`${url}/app.tar`)));
      expect(wrong.code).to.equal("IMAGE_DIGEST_MISMATCH");
      const page = await failure(bench.bring(bench.open(), from(`${url}/page.tar`)));
      expect(page.code).to.equal("CONTENT_UNAVAILABLE");
    });

    it("through a link in the operator's folder", async () => {
      const layer = join(image.dir, "blobs/sha256", image.layerDigest.slice(7));
      copyFileSync(layer, join(bench.dir, "elsewhere"));
      execFileSync("ln", ["-sf", join(bench.dir, "elsewhere"), layer]);
      const error = await failure(bench.bring(bench.open({ files: [bench.dir] }), from("oci://127.0.0.1:1/team/app")));
      expect(error.code).to.equal("CONTENT_UNAVAILABLE");
    });

    it("from this machine or a private network, unless the operator allows it", async () => {
      const { source, requests } = await registry();
      const images = bench.open({}, { allowPrivate: false });
      const local = source.replace("127.0.0.1", "localhost");
      const places = from(
        source,
        local,
        "oci://192.168.0.1/team/app",
        "http://10.0.0.1/app/",
        "http://169.254.1.1/a.tar",
      );
      expect(await failure(bench.bring(images, places))).to.have.property("code", "CONTENT_UNAVAILABLE");
      expect(bench.lines.flatMap(({ code }) => code ?? [])).to.deep.equal(Array(5).fill("SOURCE_REFUSED"));
      expect(requests).to.deep.equal([]);
    });

    it("from this machine by way of a public server that redirects there", () => {
      const args = [join(bench.dir, "images"), bench.target, image.digest, "9.9.9.9"];
      const said = inPublic("redirect-child.ts", args);
      expect(said)
        .to.contain("public was asked")
        .and.to.contain("SOURCE_REFUSED")
        .and.to.contain("CONTENT_UNAVAILABLE");
      expect(said).to.not.contain("loopback was asked");
    });

    it("any further when the job is stopped", async () => {
      const stop = new AbortController();
      const mischief: RegistryMood["mischief"] = (path, response) => {
        if (!path.endsWith(image.layerDigest)) return false;
        response.writeHead(200).write("x");
        stop.abort(new Error("stopped by the test"));
        return true;
      };
      const { source } = await registry({ mischief });
      const error = await failure(bench.bring(bench.open(), from(source), { signal: stop.signal }));
      expect(error.message).to.equal("stopped by the test");
      expect(parts()).to.deep.equal([]);
    });
  });
});
