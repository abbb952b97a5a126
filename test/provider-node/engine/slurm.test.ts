import type { EngineConfig } from "../../../provider-node/src/config/engine.ts";
import { missingSlurm, processesWith, type SlurmCluster, startSlurm } from "../../support/slurm.ts";
import { engineConformance } from "./conformance.ts";

describe("a Slurm cluster of two nodes", function () {
  this.timeout(60_000);
  let cluster: SlurmCluster;
  const config = { type: "slurm" } as Extract<EngineConfig, { type: "slurm" }>;

  before(async function () {
    const missing = missingSlurm();
    if (missing !== undefined) {
      console.log(`    skipped: ${missing}`);
      this.skip();
    }
    cluster = await startSlurm();
    config.slurm = cluster.config;
  });
  after(() => cluster?.close());

  engineConformance("slurm engine", {
    config,
    monitorOf: async (_, name) => processesWith(name, "conmon")[0] as number,
    killAfterMs: [500, 1500],
  });
});
