import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import type { RunReport } from "../../client/src/actions/run-job.ts";
import { busyboxImage } from "../../scripts/demo-job/image.ts";
import { berth, errorOf, imageCache, logsOf, type Market, openMarket } from "../support/e2e.ts";

const hasGvisor = spawnSync("runsc", ["--version"]).status === 0;
const small = ["--cpu", "0.5", "--memory", "128", "--disk", "16", "--max-seconds", "60", "--yes"];

describe("a requester's choices", function () {
  this.timeout(300_000);
  let market: Market;
  let image: string;
  before(async () => {
    const [opened, { dir }] = await Promise.all([openMarket(), busyboxImage(imageCache)]);
    market = opened;
    image = `oci:${dir}`;
  });
  after(() => market?.close());
  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${await logsOf(market)}\n`);
  });

  (hasGvisor ? it : it.skip)(
    `gVisor: the job's kernel is not the node's${hasGvisor ? "" : " (runsc is not installed)"}`,
    async () => {
      const out = join(market.folder, "gvisor");
      const script = "dmesg > /out/kernel; cat /proc/version > /out/version";
      const ended = await berth(
        ...([market, "run", image, ...small, "--isolation", "gvisor", "--out", out, "--", "sh", "-c", script] as const),
      );
      expect(ended.exitCode, ended.stderr).to.equal(0);
      expect((ended.json as RunReport).verification.ok).to.equal(true);
      expect(await readFile(join(out, "kernel"), "utf8")).to.include("Starting gVisor");
      const own = await readFile("/proc/version", "utf8");
      expect(await readFile(join(out, "version"), "utf8")).to.not.equal(own);
    },
  );

  it("two replicas: each is shown, fetched, verified and paid, and they are compared", async () => {
    const out = join(market.folder, "replicas");
    const script = "echo begun; sleep 2; echo same > /out/file";
    const ended = await berth(
      ...([
        market,
        "run",
        image,
        ...small,
        "--replicas",
        "2",
        "--follow",
        "--out",
        out,
        "--",
        "sh",
        "-c",
        script,
      ] as const),
    );
    expect(ended.exitCode, ended.stderr).to.equal(0);
    const { replicas, agreement } = ended.json as RunReport;
    expect(replicas.map(({ state, exitCode }) => ({ state, exitCode }))).to.deep.equal([
      { state: "settled", exitCode: 0 },
      { state: "settled", exitCode: 0 },
    ]);
    expect(new Set(replicas.map(({ operator }) => operator)).size).to.equal(2);
    for (const replica of [0, 1]) {
      expect(await readFile(join(out, String(replica), "file"), "utf8")).to.equal("same\n");
      expect(ended.stderr).to.match(new RegExp(`${replica} stdout +begun`));
    }
    expect(ended.stderr).to.include("all 2 replicas agree");
    expect(agreement).to.deep.include({ missing: [], quorum: null });
  });

  it("a GPU: nobody here has one, and the answer says so", async () => {
    const ended = await berth(market, "run", image, ...small, "--gpus", "1", "--gpu-model", "h100");
    expect(ended.exitCode, ended.stderr).to.equal(3);
    expect(errorOf(ended)).to.deep.include({ code: "NO_OFFER_FITS" });
    expect(errorOf(ended).message).to.match(/2 offers, 0 fit: 2 have no GPU \(largest 0\)/);
    expect(errorOf(ended).hint).to.include("berth offers");
  });
});
