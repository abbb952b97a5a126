import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, openEmbeddedStore } from "@berth/content";
import { termsOf } from "@berth/protocol";
import { expect } from "chai";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { keepArtifact } from "../../../provider-node/src/jobs/keep.ts";
import type { Artifact, AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { quiet } from "../../support/engine.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const RETENTION = 1000;
const windows = { acceptWindow: 60, submitWindow: 400, challengeWindow: 90, arbiterWindow: 77 };
const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const terms = termsOf(domain, aRequest(windows), anOffer(), 0);

describe("keepArtifact", () => {
  let dir: string;
  let content: ContentStore;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "berth-keep-"));
    content = await openEmbeddedStore({ dir });
  });
  afterEach(async () => {
    await content.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const tomorrow = Math.floor(Date.now() / 1000) + 86_400;
  const job = { jobId: terms.job.jobId, replica: 0, matchedAt: tomorrow, terms } as JobRow;
  async function keep(retentionSeconds: number | undefined, now: number): Promise<Artifact> {
    const { cid, size } = await content.addBytes(Buffer.from("a result"));
    const kept: Artifact[] = [];
    const tools = {
      ...{ content, now: () => now, database: { atomically: (run: () => void) => run() } },
      journal: { keep: (_: unknown, artifacts: Artifact[]) => void kept.push(...artifacts) },
    } as unknown as JobTools;
    const spec = retentionSeconds === undefined ? undefined : aSpec({ retentionSeconds });
    const attempt = { jobId: job.jobId, replica: 0, attempt: 0, facts: { spec } } as unknown as AttemptRow;
    await keepArtifact(job, attempt, { kind: "result", cid, bytes: size }, tools, quiet);
    return kept[0] as Artifact;
  }

  it("keeps a result through every window and its retention, and not a second longer", async () => {
    const { cid, keptUntil } = await keep(RETENTION, tomorrow);
    expect(keptUntil).to.equal(tomorrow + 400 + 90 + 77 + RETENTION);
    await content.gc(keptUntil - 1);
    expect(await content.has(cid)).to.equal(true);
    await content.gc(keptUntil);
    expect(await content.has(cid)).to.equal(false);
  });

  it("counts the windows from now on, and none of the time before", async () => {
    expect((await keep(RETENTION, tomorrow + 333)).keptUntil).to.equal(tomorrow + 333 + 400 + 90 + 77 + RETENTION);
    expect((await keep(RETENTION, tomorrow - 333)).keptUntil).to.equal(tomorrow + 400 + 90 + 77 + RETENTION);
    expect((await keep(undefined, tomorrow)).keptUntil).to.equal(tomorrow + 400 + 90 + 77);
  });
});
