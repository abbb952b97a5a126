import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { type JobId, jobMarketAbi, ZERO_ADDRESS, ZERO_BYTES32 } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { agreementSentence, type Compared, compareResults } from "../../../client/src/actions/compare-results.ts";
import { getJob } from "../../../client/src/actions/get-job.ts";
import { type RunOptions, runJob } from "../../../client/src/actions/run-job.ts";
import { tailRun } from "../../../client/src/actions/tail-run.ts";
import { chainNow } from "../../../client/src/chain-reads.ts";
import { describeRun } from "../../../client/src/cli/describe.ts";
import { outputPrinter } from "../../../client/src/cli/output.ts";
import { walletFromViem } from "../../../client/src/wallet.ts";
import { tinyImage } from "../support/images.ts";
import { type Ordered, type TestMarket, testMarket } from "../support/market.ts";
import { type Mischief, OUTPUT, playNode } from "../support/node.ts";

describe("a job of several replicas", function () {
  this.timeout(60_000);
  let market: TestMarket;
  let image: string;
  before(async () => {
    market = await testMarket({ nodes: 2 });
    image = `oci:${(await tinyImage(await market.folder())).dir}`;
  });
  after(() => market.close());

  /** Both nodes, one after the other; null: that one does nothing. */
  const play = async (ordered: Ordered, ...how: (Mischief | null)[]) => {
    await market.match(ordered.request, ordered.signature);
    for (const [replica, mischief] of how.entries()) {
      if (mischief !== null) await playNode(market, { ...ordered, signature: "0x" }, { ...mischief, replica });
    }
  };
  const run = async (more: Partial<RunOptions> = {}) => {
    const wallet = walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
    const client = await market.client(wallet);
    const options: RunOptions = {
      image,
      spec: { command: ["x"], runSeconds: 60, startSeconds: 30 },
      replicas: 2,
      serve: { host: "127.0.0.1", port: 0 },
      ...more,
    };
    const said: string[] = [];
    const report = await runJob(client, options, { onProgress: ({ message }) => said.push(message) });
    return { report, said: said.join("\n"), client };
  };

  it("has all of them matched, fetched, verified, exported and paid, and told apart", async () => {
    market.onRequest = (ordered) => play(ordered, {}, {});
    const out = join(await market.folder(), "result");
    const { report, said } = await run({ out });
    expect(report.verification.ok).to.equal(true);
    expect(report.replicas.map(({ state, outcome, operator }) => ({ state, outcome, operator }))).to.deep.equal(
      market.nodes.map(({ offer }) => ({ state: "settled", outcome: "exited", operator: offer.operator })),
    );
    for (const replica of [0, 1]) {
      expect(await readFile(join(out, String(replica), "answer.txt"), "utf8")).to.equal(OUTPUT);
      expect(said).to.match(
        new RegExp(`^replica ${replica}: matched to node ${market.nodes[replica]?.offer.operator}/0`, "m"),
      );
      expect(said).to.include(`replica ${replica}: result fetched: exited with code 0`);
      expect(report.verification.checks.map(({ name }) => name)).to.include(`replica ${replica}: charge`);
    }
    expect(said).to.include("all 2 replicas agree");
    expect(report.agreement).to.deep.include({ missing: [], quorum: null });
    expect(report.transactions.filter(({ what }) => what === "approve")).to.have.length(2);
    const text = describeRun(report, { address: "0x", symbol: "tUSD", decimals: 6 });
    expect(text)
      .to.match(/^replica +0$/m)
      .and.to.match(/^replica +1$/m)
      .and.to.match(/^agreement +all 2 replicas agree$/m);
  });

  it("tells results that differ, and pays for both: nobody said that the job gives the same each time", async () => {
    market.onRequest = (ordered) => play(ordered, {}, { output: "forty-three\n", exitCode: 3 });
    const out = join(await market.folder(), "result");
    const { report, said } = await run({ out });
    expect(said).to.include("1 of 2 replicas agree (0); replica 1 differs");
    expect(report.replicas.map(({ exitCode, state }) => [exitCode, state])).to.deep.equal([
      [0, "settled"],
      [3, "settled"],
    ]);
    expect(await readFile(join(out, "1", "answer.txt"), "utf8")).to.equal("forty-three\n");
  });

  it("pays and exports the one that verifies, where the other does not", async () => {
    market.onRequest = (ordered) => play(ordered, { signer: market.operator }, {});
    const out = join(await market.folder(), "result");
    const { report, said } = await run({ out });
    expect(report.verification.ok).to.equal(false);
    expect(said).to.include("NOT verified: replica 0: node signature").and.to.include("no verified result of 0");
    expect(report.replicas.map(({ state }) => state)).to.deep.equal(["submitted", "settled"]);
    expect(await readFile(join(out, "1", "answer.txt"), "utf8")).to.equal(OUTPUT);
    expect(await readFile(join(out, "0", "answer.txt")).catch(() => "absent")).to.equal("absent");
  });

  it("does not wait for one whose time is over, and takes the other's result into a folder of its number", async () => {
    market.onRequest = async (ordered) => {
      await play(ordered, null, {});
      const now = await chainNow(await market.client());
      await market.anvil.call("evm_setNextBlockTimestamp", [now + ordered.request.submitWindow + 5]);
      await market.anvil.call("evm_mine");
    };
    const out = join(await market.folder(), "result");
    const { report, said, client } = await run({ out });
    expect(said).to.include("replica 0: no result within its time");
    expect(report.replicas.map(({ outcome, state }) => [outcome, state])).to.deep.equal([
      ["no-result", "active"],
      ["exited", "settled"],
    ]);
    expect(await readFile(join(out, "1", "answer.txt"), "utf8")).to.equal(OUTPUT);
    expect((await getJob(client, report.jobId)).replicas[0]?.state).to.equal("active");
  });

  it("takes what is left where a node gave its replica back", async () => {
    market.onRequest = async (ordered) => {
      await play(ordered, null, null);
      const client = await market.client();
      const [first, second] = (await getJob(client, await lastJob(market))).replicas;
      await market.write(market.nodes[0]?.hotKey as never, market.deployment.market, jobMarketAbi, "decline", [
        first?.terms,
        0,
      ]);
      expect(second?.state).to.equal("active");
      await playNode(market, { ...ordered, signature: "0x" }, { replica: 1 });
    };
    const { report } = await run();
    expect(report.replicas.map(({ outcome, state }) => [outcome, state])).to.deep.equal([
      ["declined", "refunded"],
      ["exited", "settled"],
    ]);
  });
});

describe("tailRun", () => {
  let server: Server;
  before(async () => {
    server = createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? "/", "http://x");
      const replica = pathname.split("/").at(-2);
      if (replica === "1") return response.writeHead(403).end(JSON.stringify({ code: "NO", detail: "Not you." }));
      const bytes = Buffer.from(`${searchParams.get("stream")} of ${replica}\n`).toString("base64");
      const end = {
        attempt: 0,
        phase: "publishing",
        outcome: "exited",
        exitCode: 0,
        message: "",
        bytes: 0,
        truncated: false,
      };
      return response
        .writeHead(200, { "content-type": "text/event-stream" })
        .end(
          `event: log\ndata: ${JSON.stringify({ attempt: 0, from: 0, bytes })}\n\nevent: end\ndata: ${JSON.stringify(end)}\n\n`,
        );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  after(() => server.close());

  it("hands on what every replica writes, with its number, and says of which one it cannot", async () => {
    const contentUrl = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
    const wallet = { address: ZERO_ADDRESS, signTypedData: async () => "0x00" };
    const rpc = { client: { getBlock: async () => ({ timestamp: 0n }) } };
    const client = { rpc, wallet, domain: { chainId: 1, market: ZERO_ADDRESS } };
    const lines: string[] = [];
    const said: string[] = [];
    const context = { onProgress: ({ message }: { message: string }) => void said.push(message) };
    const tail = tailRun(
      client as never,
      (stream, bytes, { replica, of }) => {
        if (bytes.length > 0) lines.push(`${replica}/${of} ${stream}: ${Buffer.from(bytes)}`);
      },
      context,
    );
    const jobId = `0x${"a".repeat(64)}`;
    const replicas = [0, 1, 2].map((replica) => ({ replica, operator: ZERO_ADDRESS, index: 0, contentUrl }));
    tail.begin({ jobId, replicas } as never);
    await tail.settle();
    expect(lines.sort()).to.deep.equal(
      [0, 2].flatMap((at) => [`${at}/3 stderr: stderr of ${at}\n`, `${at}/3 stdout: stdout of ${at}\n`]),
    );
    expect(said).to.deep.equal(["replica 1: what the job writes is not shown: The node refused: Not you."]);
  });

  it("prints lines with the number of their replica, where there are several", () => {
    const written: string[] = [];
    const { write } = process.stderr;
    process.stderr.write = ((text: string) => written.push(text.trim()) > 0) as never;
    try {
      const print = outputPrinter();
      const bytes = (text: string) => new TextEncoder().encode(text);
      print("stdout", bytes("half "), { replica: 0, of: 2 });
      print("stdout", bytes("other\n"), { replica: 1, of: 2 });
      print("stdout", bytes("whole\n"), { replica: 0, of: 2 });
      print("stderr", bytes("alone\n"), { replica: 0, of: 1 });
    } finally {
      process.stderr.write = write;
    }
    expect(written.map((line) => line.split(/ {2,}/).at(-1))).to.deep.equal(["other", "half whole", "alone"]);
    expect(written[0]).to.include("1 stdout");
    expect(written[2]).to.match(/^\S*stderr/);
  });
});

describe("compareResults", () => {
  const order = { replicas: 4, verifier: ZERO_ADDRESS, verifierData: ZERO_BYTES32 };
  const result = (replica: number, cid: string | null, exitCode: number | null = 0): Compared => ({
    replica,
    record: { outcome: "exited", exitCode, outputs: cid === null ? null : { cid } },
  });
  const said = (results: Compared[], more: Partial<typeof order> = {}) =>
    agreementSentence(compareResults({ ...order, ...more } as never, results));

  it("groups what is the same: outcome, exit code and outputs", () => {
    expect(said([result(0, "a"), result(1, "a"), result(2, "a"), result(3, "a")])).to.equal("all 4 replicas agree");
    expect(said([result(0, "b"), result(1, "a"), result(2, "a"), result(3, "a", 1)])).to.equal(
      "2 of 4 replicas agree (1, 2); replica 0 differs; replica 3 differs",
    );
    expect(said([result(0, "a"), result(1, "a"), result(2, null), result(3, null)])).to.equal(
      "2 of 4 replicas agree (0, 1); replicas 2, 3 agree on something else",
    );
  });

  it("counts what is missing, and names the quorum that was ordered", () => {
    const none = { replica: 1, record: undefined };
    expect(said([result(0, "a"), none, result(2, "a")])).to.equal(
      "2 of 4 replicas agree (0, 2); no verified result of 1, 3",
    );
    const verifier = `0x${"7".repeat(40)}` as const;
    const verifierData = `0x${(3n << 64n).toString(16).padStart(64, "0")}`;
    expect(said([result(0, "a")], { verifier, verifierData } as never)).to.match(/; the quorum needs 3$/);
  });
});

/** The job that was matched last. */
async function lastJob({ deployment, client }: TestMarket): Promise<JobId> {
  const { rpc } = await client();
  const events = await rpc.client.getContractEvents({
    address: deployment.market,
    abi: jobMarketAbi,
    eventName: "JobMatched",
    fromBlock: 0n,
  });
  return events.at(-1)?.args.job?.jobId as JobId;
}
