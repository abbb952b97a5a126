import { once } from "node:events";
import { chmodSync, mkdtempSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { SANDBOX_POLICY } from "../../../provider-node/src/engine/sandbox-policy.ts";
import type { AttemptSpec } from "../../../provider-node/src/engine/types.ts";
import { outcomeOf } from "../../../provider-node/src/engine/verdict.ts";
import { type Collected, collectOutputs } from "../../../provider-node/src/output/collect.ts";
import { type EngineBench, quiet } from "../../support/engine.ts";
import { eventually } from "../../support/eventually.ts";
import { processesWith, tracesOf } from "./traces.ts";

const MIB = 1024 * 1024;
const ROOMY = { cpuMilli: 1000, memoryMiB: 128, diskMiB: 16, gpus: 0 };

export interface HostileOptions {
  /** How long after its limit a run may go on. */
  timerSlackMs: number;
  isolation?: "gvisor";
}

/** Registers the tests of what a job may try against the machine, the node and other jobs. */
export function hostileJobs(benchOf: () => EngineBench, options: HostileOptions): void {
  describe("against a hostile job", () => {
    const { timerSlackMs, isolation } = options;
    const inGvisor = isolation === "gvisor";
    const shell: EngineBench["shell"] = (script, changes) =>
      benchOf().shell(script, { ...(inGvisor && { isolation, resources: ROOMY }), ...changes });
    const started = async (script: string, changes: Partial<AttemptSpec> = {}) => {
      const spec = shell(script, changes);
      await benchOf().engine.prepare(spec, quiet);
      await benchOf().engine.start(spec.name, quiet);
      return spec;
    };
    const cleanup = async ({ name }: AttemptSpec) => {
      await benchOf().engine.cleanup(name, quiet);
      expect(tracesOf(benchOf(), name)).to.deep.equal([]);
    };
    const hostile = async (script: string, changes: Partial<AttemptSpec> = {}) => {
      const bench = benchOf();
      const spec = shell(script, changes);
      const state = await bench.run(spec);
      const outputs = await collectOutputs(await bench.engine.outputDir(spec.name, quiet), spec.outputs, quiet);
      const files = await contentsOf(outputs);
      const logs = await bench.engine.logs(spec.name, quiet);
      const usage = await bench.engine.usage(spec.name, quiet);
      const logBytes = statSync(logs.stdout.path).size;
      await cleanup(spec);
      return { state, outputs, files, logs, logBytes, usage, outcome: outcomeOf(state, !outputs.ok) };
    };

    it("kills it at its memory limit", async () => {
      const { outcome, usage } = await hostile("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
      expect(outcome).to.equal("out-of-memory");
      const { memoryMiB } = shell("").resources;
      expect(usage.peakBytes).to.be.within((memoryMiB - 1) * MIB, (memoryMiB + 16) * MIB);
    });

    it("lets it fill neither /tmp nor the shared memory beyond its own", async () => {
      const { state } = await hostile(
        "dd if=/dev/zero of=/tmp/a bs=1M count=200 && exit 1; rm /tmp/a; dd if=/dev/zero of=/dev/shm/a bs=1M count=65 && exit 2; exit 9",
        { resources: ROOMY },
      );
      expect(state.exitCode).to.equal(9); // the sized memory file systems stop it first
    });

    it("stops it forking without end, and ends all that it forked", async () => {
      const marker = `bomb-${process.pid}-${Date.now()}`;
      // The shell that forks gives up at the first refusal; what it forked stays. The first process forks no more:
      // were it refused too, it would end, and everything with it.
      const script = `(while :; do sh -c 'sleep 60; : ${marker}' & done); echo full; exec sleep 60`;
      const spec = await started(script, { resources: ROOMY });
      if (inGvisor) {
        // Its kernel is one of the processes that are too many, and ends.
        const state = await benchOf().engine.wait(spec.name, quiet);
        expect(outcomeOf(state, false)).to.be.oneOf(["exited", "out-of-memory"]);
        expect(state.exitCode).to.not.equal(0);
        return await cleanup(spec);
      }
      await eventually("it can fork no more", async () => (await benchOf().stdout(spec.name)) === "full\n", 30_000);
      const most = SANDBOX_POLICY.pidsLimit + 4; // those that watch have it on their command line too
      expect(processesWith(marker).length).to.be.within(100, most);
      await cleanup(spec);
      expect(processesWith(marker)).to.deep.equal([]);
    });

    it("stops it at its time limit, though it ignores polite signals", async () => {
      const { outcome, usage } = await hostile("trap '' TERM; sleep 60", { maxSeconds: 1 });
      expect(outcome).to.equal("timed-out");
      expect(usage.wallMs).to.be.within(500, 1000 + timerSlackMs);
    });

    it("keeps a flood of log lines within its cap, and the job does not notice", async () => {
      const { state, logs, logBytes } = await hostile(
        "yes long-enough-a-line-to-count-as-a-flood | head -c 12000000; echo x >&2; exit 4",
      );
      expect(state.exitCode).to.equal(4);
      expect(logs.stdout.truncated).to.equal(true);
      expect(logBytes)
        .to.equal(logs.stdout.bytes)
        .and.within(2 * MIB, SANDBOX_POLICY.maxLogBytes);
    });

    it("lets it write no more than its output volume holds", async () => {
      const { state, outputs } = await hostile("dd if=/dev/zero of=/out/big bs=1M count=64", {
        outputs: { maxBytes: 64 * MIB, maxFiles: 9 },
      });
      expect(state.exitCode).to.not.equal(0);
      expect(outputs)
        .to.have.property("bytes")
        .within(8 * MIB, 16 * MIB);
    });

    it("counts too many files, and stops them where the volume ends", async () => {
      const { outcome, outputs, state } = await hostile(
        "i=0; while [ $i -lt 2000 ] && true > /out/$i; do i=$((i+1)); done 2>/dev/null; [ $i -lt 1000 ]",
      );
      expect(state.exitCode).to.equal(0);
      expect(outputs).to.have.nested.property("tooLarge.what", "files");
      expect(outcome).to.equal("output-too-large");
    });

    it("counts a sparse file with its holes", async () => {
      const { outcome, outputs } = await hostile("dd if=/dev/zero of=/out/sparse bs=1 count=1 seek=4G");
      expect(outcome).to.equal("output-too-large");
      expect(outputs).to.have.nested.property("tooLarge.what", "bytes");
    });

    it("leaves links and FIFOs out of the outputs, and brings names with newlines home as they are", async () => {
      const names = ["two\nlines", "\n", "-rf", "$(reboot)", "file"];
      const script =
        'ln -s /etc/shadow /out/link; mkfifo /out/fifo; for n in "$@"; do printf %s "$n" > "/out/$n"; done';
      const { outputs, files } = await hostile("", { entrypoint: ["/bin/sh", "-c", script, "name"], command: names });
      const fifos = inGvisor ? [] : [{ path: "fifo", reason: "fifo" }]; // gVisor makes none in a volume
      expect(outputs).to.deep.include({ ok: true, skipped: [...fifos, { path: "link", reason: "link" }] });
      expect(files).to.deep.equal(Object.fromEntries(names.map((name) => [name, name])));
    });

    it("lets it reach neither this machine, nor the address of a cloud's secrets, nor another job", async () => {
      const bench = benchOf();
      const connections: unknown[] = [];
      const server = createServer((socket) => {
        connections.push(socket.remoteAddress);
        socket.destroy();
      });
      server.listen(0, "0.0.0.0");
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      const own = Object.values(networkInterfaces()).flatMap((all = []) =>
        all.filter(({ family }) => family === "IPv4"),
      );
      const inputs = mkdtempSync(join(bench.dataDir, "go-"));
      chmodSync(inputs, 0o755);
      const marker = `victim-${process.pid}-${Date.now()}`;
      const victim = await started(
        `nc -ll -p 7777 -e /bin/cat & echo ready; while [ ! -e /in/go ]; do sleep 0.05; done; echo unharmed; : ${marker}`,
        { inputs: [{ hostDir: inputs, path: "/in" }] },
      );
      try {
        await eventually("the other job runs", async () => (await bench.stdout(victim.name)) === "ready\n", 30_000);
        const script = [
          'reach() { echo hello | nc -w 1 "$1" "$2" 2> /dev/null && echo "reached $1 $2"; }',
          "nc -l -p 7778 -e /bin/cat & until reach 127.0.0.1 7778; do sleep 0.05; done",
          "for host in $HOSTS; do reach $host $PORT; done; reach 169.254.169.254 80; reach 127.0.0.1 7777",
          "for p in $PIDS; do kill -0 $p && echo sees $p; [ -e /proc/$p ] && echo shows $p; done 2> /dev/null",
          "for f in /proc/[0-9]*/cmdline; do echo \"process: $(tr '\\0\\n' '  ' < $f)\"; done",
          "kill -KILL -1; exit 3",
        ].join("\n");
        const attacker = shell(script, {
          env: {
            HOSTS: own.map(({ address }) => address).join(" "),
            PORT: String(port),
            PIDS: [process.pid, ...processesWith(marker), ...processesWith(victim.name)].join(" "),
          },
        });
        const state = await bench.run(attacker);
        const said = (await bench.stdout(attacker.name)).split("\n").filter((line) => line !== "");
        expect(said.filter((line) => !line.startsWith("process: "))).to.deep.equal(["hello", "reached 127.0.0.1 7778"]); // itself
        expect(said.length - 2).to.be.within(1, 8);
        expect(said.join("\n")).to.not.include(marker);
        expect(state).to.deep.include({ phase: "exited", exitCode: 3 });
        expect(outcomeOf(state, false)).to.equal("exited");
        await cleanup(attacker);
        expect(connections).to.deep.equal([]);

        writeFileSync(join(inputs, "go"), "");
        expect(await bench.engine.wait(victim.name, quiet)).to.deep.include({ phase: "exited", exitCode: 0 });
        expect(await bench.stdout(victim.name)).to.equal("ready\nunharmed\n");
      } finally {
        server.close();
        await cleanup(victim);
      }
    });
  });
}

/** Every output with what is in it, unless there are too many. */
async function contentsOf(collected: Collected): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const { path, content } of collected.ok ? collected.files : []) {
    contents[path] = "";
    for await (const piece of content()) contents[path] += Buffer.from(piece).toString();
  }
  return contents;
}
