import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { identityRegistryAbi, jobMarketAbi, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { eventually } from "../../support/eventually.ts";
import type { Matched } from "../daemon/market-bench.ts";
import { berthNode, type NodeProcess, startCommand, startNode } from "../daemon/node-process.ts";
import { type NodeBench, openNodeBench } from "./node-bench.ts";

const WEEK = 7 * 86_400;

describe("commands of a node", function () {
  this.timeout(120_000);
  let bench: NodeBench;
  let node: NodeProcess | undefined;
  let key: string[];

  before(async () => {
    bench = await openNodeBench();
    key = ["--operator-key-file", bench.market.operatorKeyFile];
  });

  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
  });

  after(async () => {
    await node?.kill("SIGKILL");
    await bench?.close();
  });

  /** Sends what a command prepared, as a wallet elsewhere would. */
  async function sign(prepared: { from: string; transactions: { to: `0x${string}`; data: `0x${string}` }[] }) {
    const { market } = bench;
    expect(prepared.from).to.equal(market.operator.address.toLowerCase());
    const wallet = createWalletClient({ transport: http(market.anvil.url), account: market.operator });
    for (const { to, data } of prepared.transactions) {
      const hash = await wallet.sendTransaction({ to, data, chain: null });
      expect((await market.client.waitForTransactionReceipt({ hash })).status).to.equal("success");
    }
  }

  const published = () =>
    bench.market.client.readContract({
      address: bench.market.deployment.identity,
      abi: identityRegistryAbi,
      functionName: "nodeOf",
      args: [bench.market.operator.address, 0],
    });

  describe("without the operator's key on the machine", () => {
    it("say what the chain does not have yet", async () => {
      const { code, stdout } = await bench.run("register", "--check");
      const { complete, missing } = JSON.parse(stdout);
      expect(code).to.equal(1);
      expect(complete).to.equal(false);
      expect(missing.map(({ what }: { what: string }) => what)).to.deep.equal([
        ...["publish node", "set limits", "set accepted", "stake"],
      ]);
    });

    it("prepare the registration for a wallet that signs elsewhere", async () => {
      const file = join(bench.market.dir, "register.json");
      const answer = await bench.ask("register", "--prepare", file);
      const prepared = JSON.parse(readFileSync(file, "utf8"));
      expect(answer.prepared).to.deep.equal(prepared);
      expect(answer.transactions).to.deep.equal([]);
      expect((await published()).key).to.equal(ZERO_ADDRESS);
      const descriptions = prepared.transactions.map(({ description }: { description: string }) => description);
      expect(descriptions[0]).to.match(/^Publishes node 0 of 0x.*: hot key 0x/);
      expect(descriptions[1]).to.match(
        /^Limits node 0 to 16 jobs at a time with bonds of 1000 token units, 1 cores, 512 MiB/,
      );
      expect(descriptions[2]).to.match(/^Lets all nodes of 0x.* sign offers for 0x/);
      expect(prepared.transactions[0]).to.deep.include({ chainId: 31337, value: "0" });
      await sign(prepared);
      expect((await published()).key.toLowerCase()).to.equal(answer.key);
    });

    it("prepare a stake on stdout, and find the chain complete after it", async () => {
      const prepared = await bench.ask("stake", "5000", "--prepare", "-");
      const descriptions = prepared.transactions.map(({ description }: { description: string }) => description);
      expect(descriptions[0]).to.match(/^Lets the staking contract 0x.* take 5000 token units/);
      expect(descriptions[1]).to.match(/^Adds 5000 token units/);
      await sign(prepared);
      expect(await bench.ask("register", "--check")).to.deep.equal({ complete: true, missing: [] });
    });

    it("refuse a file that cannot be written", async () => {
      const failure = await bench.fail("stake", "5", "--prepare", join(bench.market.dir, "absent", "x.json"));
      expect(failure).to.deep.include({ exit: 2, code: "FLAG_INVALID" });
    });
  });

  describe("with the operator's key", () => {
    it("take it from the environment, and only its own", async () => {
      const mine = { BERTH_NODE_OPERATOR_KEY_FILE: bench.market.operatorKeyFile };
      const sent = await berthNode([...bench.flags, "stake", "10"], mine);
      expect(JSON.parse(sent.stdout), sent.stderr).to.deep.include({ added: "10", free: "5010" });
      const other = join(bench.market.dir, "other.key");
      writeFileSync(other, `0x${"7".repeat(64)}\n`, { mode: 0o600 });
      const failure = await bench.fail("register", "--operator-key-file", other);
      expect(failure).to.deep.include({ exit: 2, code: "NOT_CONTROLLER" });
      expect(failure.message).to.include(privateKeyToAccount(`0x${"7".repeat(64)}`).address);
    });

    it("let free stake out after its wait, and take it back before", async () => {
      expect(await bench.fail("withdraw", "exit", ...key)).to.include({ exit: 1, code: "NO_EXIT" });
      expect(await bench.fail("withdraw", "request-exit", "6000", ...key)).to.include({ code: "BALANCE_TOO_LOW" });
      const asked = await bench.ask("withdraw", "request-exit", "10", ...key);
      expect(asked).to.deep.include({ stake: { free: "5000", locked: "0" } });
      expect(asked.exit.amount).to.equal("10");
      expect(await bench.fail("withdraw", "exit", ...key)).to.include({ exit: 1, code: "EXIT_NOT_READY" });
      expect(await bench.ask("withdraw", "cancel-exit", ...key)).to.deep.include({ exit: null });
      await bench.ask("withdraw", "request-exit", "10", ...key);
      await bench.market.anvil.call("evm_increaseTime", [WEEK]);
      await bench.market.anvil.call("evm_mine");
      const paid = await bench.ask("withdraw", "exit", "--to", bench.market.requester.address, ...key);
      expect(paid).to.deep.include({ exit: null, stake: { free: "5000", locked: "0" } });
      expect(paid.transactions[0]).to.deep.include({ what: "exit" });
    });

    it("pay out what was earned, and refuse what was not", async () => {
      const { market } = bench;
      expect(await bench.fail("withdraw", "earnings", "all", ...key)).to.include({ exit: 1, code: "BALANCE_TOO_LOW" });
      expect(await bench.fail("withdraw", "owed", ...key)).to.include({ exit: 1, code: "BALANCE_TOO_LOW" });
      const wallet = createWalletClient({ transport: http(market.anvil.url), account: market.requester });
      await market.mint(market.requester.address, 70n);
      const deposit = { address: market.deployment.market, abi: jobMarketAbi, functionName: "deposit" } as const;
      const token = [
        {
          type: "function",
          name: "approve",
          inputs: [{ type: "address" }, { type: "uint256" }],
          outputs: [],
          stateMutability: "nonpayable",
        },
      ] as const;
      const approve = { address: market.token, abi: token, functionName: "approve" } as const;
      const mined = async (hash: `0x${string}`) => market.client.waitForTransactionReceipt({ hash });
      await mined(await wallet.writeContract({ ...approve, args: [market.deployment.market, 70n], chain: null }));
      const args = [market.operator.address, market.token, 70n] as const;
      await mined(await wallet.writeContract({ ...deposit, args, chain: null }));
      expect(await bench.ask("withdraw")).to.deep.include({ earnings: "70", owed: "0" });
      expect(await bench.ask("withdraw", "earnings", "30", ...key)).to.deep.include({ earnings: "40" });
      expect(await bench.ask("withdraw", "earnings", "all", ...key)).to.deep.include({ earnings: "0" });
    });
  });

  describe("beside a running node", () => {
    let first: Matched;
    let facts: Record<string, string | number | null>;
    const explain = (jobId: string) => bench.ask("explain", jobId);

    before(async () => {
      node = startNode(bench.flags);
      facts = await node.ready;
      first = await bench.market.match(
        { command: ["/bin/sh", "-c", "sleep 600"], timeouts: { startSeconds: 60, runSeconds: 600 } },
        { request: { submitWindow: 1200, challengeWindow: 0 } },
      );
      const isRunning = async () => (await bench.ask("jobs", "--state", "running")).jobs.length === 1;
      await eventually("the job runs", isRunning, 60_000);
    });

    it("tell what it does, from the journal and from the process", async () => {
      const status = await bench.ask("status");
      expect(status).to.deep.include({ running: true, draining: null, waitingKeys: [] });
      expect(status.live).to.deep.include({ ready: true, troubles: [] });
      expect(status.live.offer.expiresAt).to.be.a("number");
      expect(statSync(join(bench.dataDir, "admin.sock")).mode & 0o777).to.equal(0o600);
      const { jobs } = await bench.ask("jobs", "--state", "running");
      expect(jobs).to.have.length(1);
      expect(jobs[0]).to.deep.include({ jobId: first.jobId, replica: 0, outcome: null, charge: null });
      expect(jobs[0].requester).to.equal(bench.market.requester.address.toLowerCase());
      expect((await bench.ask("jobs", "--state", "done")).jobs).to.deep.equal([]);
      expect((await bench.ask("jobs", "--since", "2099-01-01")).jobs).to.deep.equal([]);
      const text = await berthNode([...bench.flags.filter((flag) => flag !== "--json"), "jobs"]);
      expect(text.stdout).to.match(new RegExp(`job +replica +state[^]*${first.jobId} +0 +running`));
    });

    it("explain what a running job waits for", async () => {
      const answer = await explain(first.jobId.slice(0, 12));
      expect(answer).to.deep.include({ jobId: first.jobId, taken: true, transactions: [] });
      expect(answer.sentence).to.match(/^Replica 0 waits for its command to end, until /);
      const states = answer.replicas[0].history.map(({ what }: { what: string }) => what);
      expect(states).to.deep.equal(["matched", "fetching", "prepared", "attested", "running"]);
    });

    it("drain it: nothing new is offered, and --wait returns when nothing is left", async () => {
      const drained = await bench.ask("drain", "--reason", "new kernel");
      expect(drained).to.deep.include({ running: true });
      expect(drained.busy).to.deep.equal([{ jobId: first.jobId, replica: 0, phase: "running" }]);
      await eventually("no offer is out", async () => "none" in (await bench.ask("status")).live.offer, 30_000);
      expect((await bench.ask("status")).draining.reason).to.equal("new kernel");

      await node?.kill("SIGTERM");
      expect(await bench.fail("drain", "--wait")).to.deep.include({ exit: 1, code: "NODE_STOPPED" });
      node = startNode(bench.flags);
      await node.ready;
      expect((await bench.ask("status")).live.offer.none).to.equal("The node is draining: new kernel.");
      const waiting = startCommand([...bench.flags, "drain", "--wait", "--revoke", "--reason", "new kernel"]);
      await eventually("it says what it waits for", () => waiting.stderr().includes("1 jobs"), 60_000);
      endJob(first);
      const { code, stdout, stderr } = await waiting.ended;
      expect(code, stdout + stderr).to.equal(0);
      expect(JSON.parse(stdout)).to.deep.include({ busy: [], transactions: 0, offersUntil: null });
      expect(stderr).to.match(/1 jobs \(0x.*\/0 running\), \d transactions/);
      const use = { address: bench.market.deployment.market, abi: jobMarketAbi, functionName: "useOf" } as const;
      const { epoch } = await bench.market.client.readContract({ ...use, args: [bench.market.operator.address, 0] });
      expect(epoch).to.equal(1);
    });

    it("explain the whole history of a job that is over, with its transactions", async () => {
      const answer = await explain(first.jobId);
      expect(answer.replicas[0].attempts[0]).to.deep.include({ attempt: 0, outcome: "exited" });
      const submitted = answer.transactions.find(({ key }: { key: string }) => key.startsWith("submit:"));
      expect(submitted.hash).to.match(/^0x[0-9a-f]{64}$/);
      expect(submitted.block).to.be.a("number");
      expect(BigInt(submitted.gasCost) > 0n).to.equal(true);
      expect((await bench.ask("jobs", "--limit", "1")).jobs[0]).to.deep.include({
        jobId: first.jobId,
        outcome: "exited",
      });
    });

    it("take jobs again after drain --off", async () => {
      expect(await bench.ask("drain", "--off")).to.deep.include({ draining: null });
      const since = Date.now();
      await bench.market.offer(since);
    });

    it("free disk through the running node, and leave what an open attempt needs", async () => {
      const staging = join(bench.dataDir, "staging");
      mkdirSync(join(staging, "left-over"), { recursive: true });
      writeFileSync(join(staging, "left-over", "part"), Buffer.alloc(1 << 20, 1));
      const freed = await bench.ask("gc");
      expect(freed.staging).to.include("left-over");
      expect(freed.freedBytes).to.be.at.least(1 << 19); // the journal may grow meanwhile
      expect(existsSync(join(staging, "left-over"))).to.equal(false);
    });

    it("rotate both keys while it runs: the new ones sign offers, the old ones are kept", async () => {
      const before = readFileSync(join(bench.dataDir, "hot.key"), "utf8");
      const prepared = join(bench.market.dir, "rotate.json");
      const { key: next, waiting } = await bench.ask("rotate", "--prepare", prepared);
      expect(waiting).to.have.length(2);
      expect((await bench.ask("status")).waitingKeys).to.deep.equal(["hot", "wireguard"]);
      expect(await bench.fail("register", ...key)).to.deep.include({ exit: 1, code: "ROTATION_UNDER_WAY" });
      const wgBefore = (await published()).wgKey;

      const since = Date.now();
      const { key: again } = await bench.ask("rotate", ...key);
      expect(again).to.equal(next);
      await eventually(
        "the node has the new key",
        async () => (await bench.ask("status")).waitingKeys.length === 0,
        60_000,
      );
      const { offer } = await bench.market.offer(since);
      expect(offer.index).to.equal(0);
      expect((await published()).key.toLowerCase()).to.equal(next);
      expect((await published()).wgKey).to.not.equal(wgBefore);
      const kept = readdirSync(bench.dataDir).filter((name) => /^(hot|wg)\.key\.\d{8}T/.test(name));
      expect(kept).to.have.length(2);
      const hot = kept.find((name) => name.startsWith("hot")) ?? "";
      expect(readFileSync(join(bench.dataDir, hot), "utf8")).to.equal(before);
      expect(statSync(join(bench.dataDir, hot)).mode & 0o777).to.equal(0o600);
      expect(facts["key"]).to.not.equal(next);
      const coin = () => bench.market.client.getBalance({ address: next });
      await eventually("the coin has come", async () => (await coin()) > 10n ** 18n);
      await eventually("it is ready again", async () => (await bench.ask("status")).live?.ready, 30_000);
      expect(await bench.ask("register", "--check")).to.deep.equal({ complete: true, missing: [] });
    });

    it("free the images of a stopped node, once they were not used for a while", async () => {
      await node?.kill("SIGTERM");
      const uses = join(bench.dataDir, "engine", "image-use");
      const used = readdirSync(uses).map((name) => name.replace("sha256-", "sha256:"));
      expect((await bench.ask("gc")).images).to.deep.equal([]);
      for (const name of readdirSync(uses)) utimesSync(join(uses, name), 0, 0);
      const freed = await bench.ask("gc");
      expect(freed.images).to.deep.equal(used);
      expect(freed.freedBytes).to.be.greaterThan(100_000);
      expect((await bench.ask("status")).running).to.equal(false);
    });
  });

  /** Ends the command of a job: it alone is the program in a cgroup of that name. */
  function endJob({ jobId }: Matched): void {
    const ended = readdirSync("/proc").filter((pid) => {
      const [groups, command] = [fileOf(pid, "cgroup"), fileOf(pid, "cmdline")];
      return groups.includes(jobId.slice(2, 34)) && /^(\/bin\/sh\0-c\0)?sleep[ \0]600/.test(command);
    });
    expect(ended).to.not.have.length(0);
    for (const pid of ended) process.kill(Number(pid), "SIGKILL");
  }

  function fileOf(pid: string, name: string): string {
    try {
      return /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/${name}`, "utf8") : "";
    } catch {
      return "";
    }
  }
});
