import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { createPodmanEngine } from "../../../provider-node/src/engine/podman.ts";
import type { PodmanStore } from "../../../provider-node/src/engine/podman-store.ts";
import type { AttemptSpec } from "../../../provider-node/src/engine/types.ts";
import { outcomeOf } from "../../../provider-node/src/engine/verdict.ts";
import { openEngineBench, type PodmanBench, quiet } from "../../support/engine.ts";
import { hostileJobs } from "./hostile.ts";

const isHere = spawnSync("runsc", ["--version"]).status === 0;

(isHere ? describe : describe.skip)(`jobs in gVisor${isHere ? "" : " (runsc is not installed)"}`, function () {
  this.timeout(120_000);
  let bench: PodmanBench;
  before(async () => {
    bench = await openEngineBench();
  });
  after(() => bench?.close());

  const shell = (script: string, changes: Partial<AttemptSpec> = {}) =>
    bench.shell(script, {
      isolation: "gvisor",
      resources: { cpuMilli: 1000, memoryMiB: 128, diskMiB: 16, gpus: 0 },
      ...changes,
    });

  it("run under another kernel than this machine's, and keep exit code, streams and outputs", async () => {
    const spec = shell(
      "dmesg | grep -c 'Starting gVisor'; cat /proc/version; id -u; echo warned >&2; echo kept > /out/file; exit 3",
    );
    const state = await bench.run(spec);
    expect(state).to.deep.include({ phase: "exited", exitCode: 3, timedOut: false, oomKilled: false });
    const [marker, version, user] = (await bench.stdout(spec.name)).split("\n");
    expect([marker, user]).to.deep.equal(["1", "0"]);
    expect(version).to.not.equal(readFileSync("/proc/version", "utf8").trim());
    const { stderr } = await bench.engine.logs(spec.name, quiet);
    expect(readFileSync(stderr.path, "utf8")).to.equal("warned\n");
    const dir = await bench.engine.outputDir(spec.name, quiet);
    expect(readFileSync(join(dir, "file"), "utf8")).to.equal("kept\n");
    const usage = await bench.engine.usage(spec.name, quiet);
    expect(usage.cpuNs > 0n).to.equal(true);
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("have no network and no way to write but their outputs", async () => {
    const script = [
      "tail -n +3 /proc/net/dev | cut -d: -f1",
      "ls /etc/resolv.conf /etc/hosts",
      "for d in / /bin /etc; do touch $d/new && echo wrote in $d; done",
      "dd if=/dev/zero of=/out/big bs=1M count=64 || echo full",
    ].join("\n");
    const spec = shell(`exec 2>/dev/null\n${script}`);
    await bench.run(spec);
    expect((await bench.stdout(spec.name)).split("\n").map((line) => line.trim())).to.deep.equal(["lo", "full", ""]);
    await bench.engine.cleanup(spec.name, quiet);
  });

  it("are killed when asked for", async () => {
    const unwanted = shell("sleep 60");
    await bench.engine.prepare(unwanted, quiet);
    await bench.engine.start(unwanted.name, quiet);
    await bench.engine.kill(unwanted.name, quiet);
    const state = await bench.engine.inspect(unwanted.name, quiet);
    expect(outcomeOf(state, false)).to.equal("cancelled");
    await bench.engine.cleanup(unwanted.name, quiet);
  });

  hostileJobs(() => bench, { timerSlackMs: 3000, isolation: "gvisor" });

  it("do not keep the node when gVisor hangs at its start", async function () {
    // There is a /dev/kvm, but no such processor behind it: gVisor waits for it for ever.
    if (!existsSync("/dev/kvm") || /\b(vmx|svm)\b/.test(readFileSync("/proc/cpuinfo", "utf8"))) this.skip();
    const hanging: PodmanStore = {
      ...bench.store,
      runLocked: (lock, args, options) =>
        bench.store.runLocked(
          lock,
          args.map((arg) => arg.replace("platform=ptrace", "platform=kvm")),
          options,
        ),
    };
    const engine = createPodmanEngine({ store: hanging, runId: "test", nodeId: "node-a", gvisorStartSeconds: 5 });
    const spec = shell("true");
    await engine.prepare(spec, quiet);
    const error = await engine.start(spec.name, quiet).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "ENGINE_START_OVERDUE");
    expect(outcomeOf(await engine.inspect(spec.name, quiet), false)).to.equal("lost");
    await engine.cleanup(spec.name, quiet);
    expect((await engine.inspect(spec.name, quiet)).phase).to.equal("absent");
  });
});
