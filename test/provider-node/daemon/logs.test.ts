import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeLogAccess, type JobId, type LogAccess, logAccessTypedData } from "@berth/protocol";
import { expect } from "chai";
import type { PrivateKeyAccount } from "viem/accounts";
import { isDraining, setDraining } from "../../../provider-node/src/store/drain.ts";
import { openDatabase } from "../../../provider-node/src/store/open.ts";
import { eventually } from "../../support/eventually.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { registerNode } from "./registered-node.ts";

const berth = join(import.meta.dirname, "../../../client/src/main.ts");
/** The third account that every development chain funds: the requester of the bench. */
const REQUESTER_KEY = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
/** Writes, waits until the test says so, writes more, and fails. */
const TALKER = [
  "/bin/sh",
  "-c",
  "echo one; echo odd >&2; while [ ! -e /out/go ]; do sleep 0.05; done; printf 'two\\nno end'; exit 3",
];
const TIMES = { startSeconds: 60, runSeconds: 240 };
const WHOLE = "one\ntwo\nno end";

describe("berth-node, watched", function () {
  this.timeout(300_000);
  let bench: MarketBench;
  let dataDir: string;
  let url: string;
  let flags: string[];
  let node: NodeProcess;
  let metricsUrl: string;
  const watchers: ChildProcess[] = [];

  before(async () => {
    bench = await openMarketBench();
    ({ flags, dataDir, url } = await registerNode(bench, "l", { "http.metricsPort": "0" }));
    flags = [...flags, "--rpc", "http://127.0.0.1:9"];
    node = startNode(flags);
    metricsUrl = String((await node.ready)["metricsUrl"]);
    writeFileSync(join(bench.dir, "requester.key"), REQUESTER_KEY, { mode: 0o600 });
  });

  afterEach(() => {
    for (const watcher of watchers.splice(0)) watcher.kill();
  });

  after(async function () {
    if (this.test?.parent?.tests.some(({ state }) => state === "failed")) process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    const cleaned = flags === undefined ? undefined : await berthNode([...flags, "clean"]);
    await bench?.close();
    expect(cleaned?.code, cleaned?.stdout).to.equal(0);
  });

  it("lets who ordered a job watch it while it runs, over a kill of the node, and nobody else", async () => {
    const { jobId } = await bench.match({ command: TALKER, timeouts: TIMES });
    await eventually("the command runs", async () => (await phaseOf(jobId))?.["phase"] === "running", 90_000);
    const watcher = startBerth("logs", jobId, "--follow");
    const errors = startBerth("logs", jobId, "--follow", "--stderr", "--json");
    await eventually("the first line is seen", () => watcher.stdout().includes("one\n"), 90_000);
    expect(await startBerth("logs", jobId).ended).to.deep.include({ code: 0, stdout: "one\n" });

    const { requester, operator } = bench;
    const now = Math.floor(Date.now() / 1000);
    const mine = await headerOf(jobId, requester, {});
    expect(await ask(jobId, { authorization: mine })).to.include("event: log\nid: 0-4\n");
    expect(await ask(jobId, { authorization: mine, "last-event-id": "0-2" })).to.include('"from":2,"bytes":"ZQo="');
    expect(await ask(jobId, {})).to.equal("401 LOG_ACCESS_INVALID");
    const refused: [string, string][] = [
      ["401 LOG_ACCESS_EXPIRED", await headerOf(jobId, requester, { expiresAt: now - 30 })],
      ["401 LOG_ACCESS_TOO_LONG", await headerOf(jobId, requester, { expiresAt: now + 3600 })],
      ["403 LOG_ACCESS_ELSEWHERE", await headerOf(jobId, requester, { replica: 1 })],
      ["403 LOG_ACCESS_ELSEWHERE", await headerOf(jobId, requester, { index: 1 })],
      ["403 LOG_ACCESS_DENIED", await headerOf(jobId, operator, {})],
      ["401 LOG_ACCESS_UNSIGNED", await headerOf(jobId, operator, {}, requester)],
    ];
    for (const [answer, authorization] of refused) expect(await ask(jobId, { authorization })).to.equal(answer);
    expect(await ask(`0x${"0".repeat(64)}` as JobId, { authorization: mine })).to.equal("404 JOB_UNKNOWN");

    await node.kill("SIGKILL");
    node = startNode(flags);
    metricsUrl = String((await node.ready)["metricsUrl"]);
    letGo();
    expect(await watcher.ended).to.deep.include({ code: 0, stdout: WHOLE });
    expect(watcher.stderr()).to.include("exited with code 3, by the node's word");
    const { stdout } = await errors.ended;
    expect(JSON.parse(stdout)).to.deep.include({ stderr: "odd", live: true, outcome: "exited", exitCode: 3 });
    const kept = await ask(jobId, { authorization: mine });
    expect(kept).to.include(Buffer.from(WHOLE).toString("base64"));
    expect(kept).to.match(/event: end\ndata: .*"outcome":"exited","exitCode":3,.*"bytes":14,"truncated":false/);
    await eventually("the result is on chain", async () => (await bench.results(jobId)).length === 1, 90_000);
    expect(await startBerth("logs", jobId).ended).to.deep.include({ code: 0, stdout: `${WHOLE}\n` });
  });

  it("reads at most so many streams for one account at once", async () => {
    const { jobId } = await bench.match({ command: TALKER, timeouts: TIMES });
    await eventually("the command runs", async () => (await phaseOf(jobId))?.["phase"] === "running", 90_000);
    const authorization = await headerOf(jobId, bench.requester, {});
    const stop = new AbortController();
    const options = { headers: { authorization }, signal: stop.signal };
    const open = () => fetch(`${url}/jobs/${jobId}/0/logs?follow=1`, options);
    const streams = await Promise.all(Array.from({ length: 8 }, open));
    expect(streams.map(({ status }) => status)).to.deep.equal(Array(8).fill(200));
    expect(await ask(jobId, { authorization })).to.equal("429 LOG_STREAMS_BUSY");
    stop.abort();
    await eventually("a place is free again", async () => (await ask(jobId, { authorization })).includes("event: end"));
    letGo();
    await eventually("the result is on chain", async () => (await bench.results(jobId)).length === 1, 90_000);
  });

  it("tells in public how far a job is", async () => {
    const { jobId, matchedAt } = await bench.match({ command: TALKER, timeouts: TIMES });
    await eventually("the command runs", async () => (await phaseOf(jobId))?.["phase"] === "running", 90_000);
    const { since, deadline, runningSeconds } = (await phaseOf(jobId)) as Record<string, number>;
    expect(since).to.be.within(matchedAt, matchedAt + 60);
    expect(deadline).to.equal((since ?? 0) + TIMES.runSeconds);
    expect(runningSeconds).to.be.within(0, 60);
    const { stdout } = await berthNode([...flags, "status"]);
    const line = JSON.parse(stdout).jobs.find((job: { jobId: string }) => job.jobId === jobId);
    expect(line.progress).to.deep.include({ phase: "running", since, deadline });
    const waiting = startBerth("resume", jobId, "--follow", "--no-approve");
    await eventually("the client shows it", () => / {11}stdout {4}one\n/.test(waiting.stderr()), 90_000);
    letGo();
    const { code, stderr } = await waiting.ended;
    expect(code, stderr).to.equal(1); // the command failed
    expect(stderr).to.match(/ {11}stdout {4}no end\n/);
    expect(stderr).to.match(/ {11}stderr {4}odd\n/);
    await eventually("the result is on chain", async () => (await bench.results(jobId)).length === 1, 90_000);
    expect(await phaseOf(jobId)).to.deep.include({ runningSeconds: null });
  });

  it("measures itself, at an address that is not the world's", async () => {
    expect((await fetch(`${url}/metrics`)).status).to.equal(404);
    const response = await fetch(metricsUrl);
    expect(response.headers.get("content-type")).to.match(/^text\/plain; version=0\.0\.4/);
    const figures = new Map(
      (await response.text())
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith("#"))
        .map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
    );
    const name = (text: string) => figures.get(`berth_node_${text}`);
    const done = [...figures].filter(([key]) => /^berth_node_jobs\{.*outcome="exited"/.test(key));
    expect(done.reduce((sum, [, count]) => sum + count, 0)).to.equal(3);
    expect(name('attempts_total{outcome="exited"}')).to.equal(3);
    expect(name("recovered_attempts_total")).to.equal(1);
    for (const phase of ["fetch", "start", "collect", "publish"])
      expect(name(`phase_duration_seconds_count{phase="${phase}"}`), phase).to.be.within(2, 3);
    expect(name("offered_cores")).to.equal(8);
    expect(name("reserved_memory_bytes")).to.be.a("number");
    expect(name("gas_spent_wei")).to.be.greaterThan(0);
    expect(name("chain_lag_seconds")).to.be.within(0, 30);
    expect(name('rpc_failures_total{host="127.0.0.1:9"}')).to.be.greaterThan(0);
    expect(name("content_pins")).to.be.greaterThan(5);
    expect(name("disk_free_bytes")).to.be.greaterThan(2 ** 20);
    expect(name("ready")).to.equal(1);
    expect([...figures.keys()].find((key) => key.startsWith("berth_node_build_info"))).to.include('engine="podman"');
    expect([...figures.keys()]).to.include("process_resident_memory_bytes");
    await eventually(
      "the images are counted",
      async () => /berth_node_images 1\n/.test(await textAt(metricsUrl)),
      10_000,
    );
  });

  it("says why it is not ready", async () => {
    expect((await fetch(`${url}/ready`)).status).to.equal(200);
    const journal = openDatabase(join(dataDir, "journal.db"));
    try {
      setDraining(journal, { reason: "new disks", since: 1 });
      expect(isDraining(journal)).to.deep.include({ reason: "new disks" });
      const response = await fetch(`${url}/ready`);
      expect(response.status).to.equal(503);
      expect(response.headers.get("content-type")).to.equal("application/problem+json; charset=utf-8");
      const { code, reasons } = (await response.json()) as {
        code: string;
        reasons: { code: string; detail: string }[];
      };
      expect(code).to.equal("NOT_READY");
      expect(reasons.map((reason) => reason.code)).to.deep.equal(["DRAINING"]);
      expect(reasons[0]?.detail).to.include("new disks");
      expect(await textAt(metricsUrl)).to.include('berth_node_not_ready{reason="DRAINING"} 1');
      expect((await fetch(`${url}/health`)).status).to.equal(200);
    } finally {
      setDraining(journal, undefined);
      journal.close();
    }
  });

  it("names the job in every line about it", () => {
    const lines = node
      .log()
      .split("\n")
      .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : []));
    const about = /^(attempt|log stream|transaction)/;
    const unnamed = lines.filter(
      ({ msg, key }) => about.test(String(msg)) && !String(key ?? "").startsWith("finalize"),
    );
    expect(unnamed.filter(({ job, replica }) => job === undefined || replica === undefined)).to.deep.equal([]);
    expect(unnamed).to.not.have.length(0);
  });

  /** Lets every command go on that waits. */
  function letGo(): void {
    const attempts = join(dataDir, "engine/attempts");
    for (const name of readdirSync(attempts)) {
      const out = join(attempts, name, "out");
      if (existsSync(out)) writeFileSync(join(out, "go"), "");
    }
  }

  async function headerOf(
    jobId: JobId,
    signer: PrivateKeyAccount,
    changes: Partial<LogAccess>,
    account = signer,
  ): Promise<string> {
    const operator = bench.operator.address.toLowerCase() as LogAccess["operator"];
    const expiresAt = Math.floor(Date.now() / 1000) + 60;
    const access = { jobId, replica: 0, operator, index: 0, expiresAt, ...changes };
    const { chainId, market } = bench.deployment;
    const signature = await signer.signTypedData(logAccessTypedData({ chainId, market }, access));
    return encodeLogAccess({ account: account.address, ...access, signature });
  }

  /** What there is now of the job's standard output: the events, or the refusal. */
  async function ask(jobId: JobId, headers: Record<string, string>): Promise<string> {
    const response = await fetch(`${url}/jobs/${jobId}/0/logs`, { headers });
    if (response.ok) return await response.text();
    return `${response.status} ${((await response.json()) as { code: string }).code}`;
  }

  async function phaseOf(jobId: JobId): Promise<Record<string, unknown> | undefined> {
    const response = await fetch(`${url}/jobs/${jobId}/0`).catch(() => undefined);
    return response?.ok === true ? ((await response.json()) as Record<string, unknown>) : undefined;
  }

  /** The client, as the requester runs it. */
  function startBerth(...args: string[]) {
    const child = spawn(process.execPath, [berth, ...args], {
      env: {
        ...process.env,
        NO_COLOR: "1",
        BERTH_RPC_URL: bench.anvil.url,
        BERTH_DEPLOYMENT: bench.deploymentFile,
        BERTH_KEY_FILE: join(bench.dir, "requester.key"),
        BERTH_CONTENT_DIR: join(bench.dir, `client-${readers++}`),
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    watchers.push(child);
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    const [stdout, stderr] = [() => Buffer.concat(out).toString(), () => Buffer.concat(err).toString()];
    const ended = once(child, "close").then(([code]) => ({ code: code as number, stdout: stdout(), stderr: stderr() }));
    return { stdout, stderr, ended };
  }
  let readers = 0;
});

async function textAt(address: string): Promise<string> {
  return await (await fetch(address)).text();
}
