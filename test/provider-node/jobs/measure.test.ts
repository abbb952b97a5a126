import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type JobId, termsOf } from "@berth/protocol";
import { expect } from "chai";
import { engineSchema } from "../../../provider-node/src/config/engine.ts";
import type { AttemptState } from "../../../provider-node/src/core/states.ts";
import { createMeasure, type MeasureOptions } from "../../../provider-node/src/jobs/measure.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { quiet } from "../../support/engine.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const MIB = 2 ** 20;
const capacity = { cpuMilli: 8000, memoryMiB: 3000, diskMiB: 1000, gpus: 2 };
const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const noJobs: MeasureOptions["journal"] = { open: () => [], job: () => undefined };

describe("createMeasure", () => {
  let dir: string;
  /** What the disk has free. */
  let freeMiB: number;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-measure-"));
  });
  after(() => rmSync(dir, { recursive: true }));
  beforeEach(() => {
    freeMiB = 100_000;
  });

  const measured = (engine: object, journal = noJobs) => {
    const config = { dataDir: dir, engine: engineSchema.parse(engine), minFreeMiB: 100 };
    return createMeasure({ config, capacity, journal, freeBytes: () => freeMiB * MIB + 1 });
  };

  describe("on one machine", () => {
    /** A journal with one job of 300 MiB of disk for each of `jobs`. */
    const journalWith = (jobs: { state: AttemptState; chain: JobRow["chain"] }[]): MeasureOptions["journal"] => {
      const terms = termsOf(domain, aRequest({ diskMiB: 300 }), anOffer(), 0);
      const jobId = terms.job.jobId as JobId;
      return {
        open: () => jobs.map(({ state }, replica) => ({ jobId, replica, state }) as AttemptRow),
        job: (_, replica) => ({ chain: jobs[replica]?.chain, terms }) as JobRow,
      };
    };
    const diskWith = async (...jobs: Parameters<typeof journalWith>[0]) =>
      (await measured({ type: "podman" }, journalWith(jobs))(quiet)).diskMiB;

    it("finds the whole capacity while the disk has room for it, and never more", async () => {
      expect(await measured({ type: "podman" })(quiet)).to.deep.equal(capacity);
    });

    it("finds less disk as the disk fills, down to nothing at minFreeMiB, and all of it when that is over", async () => {
      const measure = measured({ type: "podman" });
      const disks: number[] = [];
      for (freeMiB of [1100, 1099, 400, 100, 20, 5000]) disks.push((await measure(quiet)).diskMiB);
      expect(disks).to.deep.equal([1000, 999, 300, 0, 0, 1000]);
      freeMiB = 20;
      expect(await measure(quiet)).to.deep.equal({ ...capacity, diskMiB: 0 });
    });

    it("counts what jobs have reserved as there, for the market subtracts it itself", async () => {
      freeMiB = 400;
      expect(await diskWith({ state: "running", chain: "active" })).to.equal(600);
      expect(await diskWith({ state: "prepared", chain: "active" }, { state: "submitting", chain: "active" })).to.equal(
        900,
      );
    });

    it("does not count what is promised and not yet reserved, nor what the market has given back", async () => {
      freeMiB = 400;
      for (const state of ["matched", "fetching", "final", "declined"] as const)
        expect(await diskWith({ state, chain: "active" }), state).to.equal(300);
      expect(await diskWith({ state: "running", chain: "settled" })).to.equal(300);
    });
  });

  describe("on a cluster", () => {
    const slurm = () => ({
      type: "slurm",
      slurm: { partition: "market", sharedDir: "/shared", binDir: dir, reserveMiB: 500 },
    });
    /** Nodes of the partition as `sinfo` shows them, each with four processors, 2000 MiB and a GPU. */
    const sinfo = (...states: string[]) => {
      const lines = states.map((state, at) => `c${at}|4|2000|${state}|gpu:1|infinite`);
      writeFileSync(join(dir, "sinfo"), `#!/bin/sh\ncat <<END\n${lines.join("\n")}\nEND\n`);
      chmodSync(join(dir, "sinfo"), 0o755);
    };

    it("finds what its nodes give that take jobs: not those that are drained or down", async () => {
      const measure = measured(slurm());
      sinfo("idle", "mixed", "allocated");
      expect(await measure(quiet)).to.deep.equal(capacity); // the nodes have more, the limits do not
      sinfo("idle", "drained", "draining");
      expect(await measure(quiet)).to.deep.equal({ ...capacity, cpuMilli: 4000, memoryMiB: 1500, gpus: 1 });
      sinfo("down", "drained", "down*");
      expect(await measure(quiet)).to.deep.equal({ ...capacity, cpuMilli: 0, memoryMiB: 0, gpus: 0 });
      sinfo("idle", "idle", "idle");
      expect(await measure(quiet)).to.deep.equal(capacity);
    });

    it("takes a cluster that does not answer for no measure", async () => {
      writeFileSync(join(dir, "sinfo"), "#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n");
      const error = await measured(slurm())(quiet).catch((thrown: unknown) => thrown);
      expect(error).to.have.property("code", "ENGINE_CLUSTER_SILENT");
    });
  });
});
