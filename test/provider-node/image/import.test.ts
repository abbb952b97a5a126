import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { packImage } from "../../../client/src/image/index.ts";
import { importImage, removeImage } from "../../../provider-node/src/image/import.ts";
import { asDockerImage } from "../../support/docker-image.ts";
import { openEngineBench, type PodmanBench, quiet } from "../../support/engine.ts";
import { busyboxImage } from "../../support/images.ts";

describe("importImage", function () {
  this.timeout(30_000);
  let bench: PodmanBench;
  let folder: string;
  before(async () => {
    bench = await openEngineBench();
    folder = mkdtempSync(join(tmpdir(), "berth-Import-")); // podman alone refuses capitals in a path
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await bench.close();
  });

  it("gives the config's digest as id, and does not read the layout again once it is there", async () => {
    const { digest, configDigest } = await busyboxImage();
    expect(`sha256:${await importImage("/nowhere", digest, bench.store, quiet)}`).to.equal(configDigest);
  });

  it("imports from the verified manifest, whatever index.json points at", async () => {
    const { dir, digest } = await busyboxImage();
    cpSync(dir, join(folder, "Layout"), { recursive: true });
    writeFileSync(join(folder, "Layout/index.json"), '{"schemaVersion":2,"manifests":[]}');
    await removeImage(digest, bench.store, quiet);
    expect(await importImage(join(folder, "Layout"), digest, bench.store, quiet)).to.match(/^[0-9a-f]{64}$/);
  });

  it("imports an image in Docker's format under the digest of Docker's manifest, also beside its twin of OCI", async () => {
    const { dir, digest, configDigest } = await busyboxImage();
    const layout = join(folder, "docker");
    cpSync(dir, layout, { recursive: true });
    const docker = asDockerImage(layout, digest);
    await importImage(dir, digest, bench.store, quiet);
    expect(`sha256:${await importImage(layout, docker, bench.store, quiet)}`).to.equal(configDigest);
    expect(`sha256:${await importImage("/nowhere", digest, bench.store, quiet)}`).to.equal(configDigest);
    await removeImage(digest, bench.store, quiet);
    expect(`sha256:${await importImage("/nowhere", docker, bench.store, quiet)}`).to.equal(configDigest);
    await removeImage(docker, bench.store, quiet);
    const id = await importImage(layout, docker, bench.store, quiet);
    expect(`sha256:${id}`).to.equal(configDigest);
    const { stdout } = await bench.store.run(["image", "inspect", "--format={{.Digest}} {{.ManifestType}}", id], quiet);
    expect(stdout.trim()).to.equal(`${docker} application/vnd.docker.distribution.manifest.v2+json`);
    await removeImage(docker, bench.store, quiet);
  });

  it("lets nothing into the store that does not match", async () => {
    const { dir, digest } = await busyboxImage();
    const layout = join(folder, "bad");
    cpSync(dir, layout, { recursive: true });
    await removeImage(digest, bench.store, quiet);
    const manifest = join(layout, "blobs/sha256", digest.slice(7));
    writeFileSync(manifest, `${readFileSync(manifest, "utf8")} `);
    const error = await importImage(layout, digest, bench.store, quiet).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "IMAGE_DIGEST_MISMATCH");
    expect((await bench.store.run(["images", "--quiet"], quiet)).stdout).to.equal("");
  });

  it("is whole or not there after node and podman were killed in the middle", async () => {
    const bytes = randomBytes(40 * 2 ** 20);
    mkdirSync(join(folder, "rootfs"));
    writeFileSync(join(folder, "rootfs/large"), bytes);
    const { dir, digest, configDigest } = await packImage({
      rootfs: join(folder, "rootfs"),
      outDir: join(folder, "large"),
    });
    const layers = join(bench.store.folder, "store/overlay");
    const before = readdirSync(layers).length;
    const child = spawn(process.execPath, [join(import.meta.dirname, "import-child.ts"), bench.dataDir, dir, digest]);
    while (readdirSync(layers).length === before) await new Promise((resolve) => setImmediate(resolve));
    child.kill("SIGKILL");
    for (const pid of podmansOf(bench.store.folder)) process.kill(pid, "SIGKILL");
    await once(child, "exit");

    // Whatever is there now must do, or be made whole.
    expect(`sha256:${await importImage(dir, digest, bench.store, quiet)}`).to.equal(configDigest);
    const { stdout } = await bench.store.run(["image", "mount", configDigest.slice(7)], quiet);
    expect(readFileSync(join(stdout.trim(), "large")).equals(bytes)).to.equal(true);
    await bench.store.run(["image", "unmount", configDigest.slice(7)], quiet);
  });
});

/** Processes at work on the store in `folder`. */
function podmansOf(folder: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^[0-9]+$/.test(name)) return [];
    try {
      const isOurs = readFileSync(join("/proc", name, "cmdline"), "utf8").includes(`--root=${folder}/store\0`);
      return isOurs ? [Number(name)] : [];
    } catch {
      return []; // it has ended
    }
  });
}
