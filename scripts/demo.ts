// One real job through the whole market, from an empty machine to a verified and paid result. Prints a table, or JSON.
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { MarketError } from "@berth/protocol";
import { execa } from "execa";
import type { RunReport } from "../client/src/actions/run-job.ts";
import { demoImage } from "./demo-job/image.ts";
import { demoReport } from "./lib/demo-report.ts";
import { type Devnet, startDevnet } from "./lib/devnet.ts";
import { pingOverMesh } from "./lib/mesh-check.ts";
import { stderrProgress, stopSignal } from "./lib/progress.ts";
import { runScript } from "./lib/script.ts";

const root = join(import.meta.dirname, "..");
const WIDTH = 640;
const HEIGHT = 480;
const HELP = `npm run demo -- [--iterations 10000] [--out FOLDER] [--json]

Starts a market of its own, runs one job that computes a picture and a table, verifies the result and pays for it.
The output is in .berth/demo, or where --out says.`;

const { values } = parseArgs({
  options: {
    iterations: { type: "string", default: "10000" },
    out: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

await runScript(async () => {
  const startedAt = performance.now();
  const signal = stopSignal();
  const progress = stderrProgress();
  const devnet = await startDevnet({ nodes: 2, rpcPort: 0, indexerPort: 0, progress, signal });
  try {
    const mesh = await progress.step("nodes ping each other over the mesh", () => pingOverMesh(devnet));
    const image = await progress.step("container image, packed for IPFS", () =>
      demoImage(join(root, ".berth", "cache")),
    );
    const out = values.out ?? join(root, ".berth", "demo", devnet.id);
    await rm(out, { recursive: true, force: true });
    await mkdir(join(out, ".."), { recursive: true });
    const run = await progress.step("job: submitted, matched, run, published, verified, paid", () =>
      berthRun(devnet, { imageDir: image.dir, out, signal }),
    );
    const seconds = (performance.now() - startedAt) / 1000;
    const report = demoReport({ devnet, run, mesh, out, seconds });
    console.log(values.json ? JSON.stringify(report.json) : report.text);
    return run.verification.ok ? 0 : 1;
  } finally {
    await progress.step("everything stopped and removed", () => devnet.stop());
  }
}, values);

/** `berth run`, as a requester types it. Its progress lines go to stderr, its JSON comes back. */
async function berthRun(
  devnet: Devnet,
  job: { imageDir: string; out: string; signal: AbortSignal },
): Promise<RunReport> {
  const attest = devnet.tpmAuthorityFile ? ["--attest", "tpm2", "--tpm-authority", devnet.tpmAuthorityFile] : [];
  const options = [
    "--config",
    devnet.clientConfigFile,
    "--json",
    "--yes",
    "--out",
    job.out,
    "--max-seconds",
    "300",
    ...attest,
  ];
  const command = [String(WIDTH), String(HEIGHT), values.iterations];
  const args = [join(root, "client", "src", "main.ts"), "run", `oci:${job.imageDir}`, ...options, "--", ...command];
  const done = await execa(process.execPath, args, {
    cancelSignal: job.signal,
    gracefulCancel: false,
    reject: false,
    stderr: ["pipe", "inherit"],
  });
  job.signal.throwIfAborted();
  if (done.exitCode !== 0) {
    const logs = await Promise.all(devnet.children.map((child) => readFile(child.logFile, "utf8").catch(() => "")));
    if (process.env["BERTH_DEBUG"]) process.stderr.write(logs.join("\n"));
    throw new MarketError("DEMO_JOB_FAILED", `\`berth run\` ended with code ${done.exitCode}.`, {
      hint: "Its words are above. BERTH_DEBUG=1 prints the logs of every program of the run.",
    });
  }
  return JSON.parse(done.stdout) as RunReport;
}
