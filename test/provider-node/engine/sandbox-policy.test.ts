import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import {
  attemptHash,
  policyHash,
  runtimeArgs,
  SANDBOX_POLICY,
  sandboxArgs,
} from "../../../provider-node/src/engine/sandbox-policy.ts";
import type { AttemptSpec } from "../../../provider-node/src/engine/types.ts";

const place = {
  imageId: "f".repeat(64),
  cgroupParent: "/berth-abc/job",
  logPath: "/data/log/raw",
  outputDir: "/data/out",
  runId: "run-a",
  nodeId: "node-a",
};
const spec: AttemptSpec = {
  name: "berth-job-0-1",
  jobId: "0xabc",
  replica: 0,
  attempt: 1,
  imageDigest: `sha256:${"a".repeat(64)}`,
  command: ["render", "--size=640 480"],
  env: { GREETING: "a=b c" },
  resources: { cpuMilli: 1500, memoryMiB: 512, diskMiB: 64, gpus: 0 },
  maxSeconds: 90,
  inputs: [{ hostDir: "/data/in/a", path: "/in/a/" }],
  outputPath: "/out",
  outputs: { maxBytes: 1000, maxFiles: 10 },
  network: "none",
};

describe("sandboxArgs", () => {
  const args = sandboxArgs(spec, place);

  for (const flag of [
    "--name=berth-job-0-1",
    "--pull=never",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--uidmap=0:100000:65536",
    "--gidmap=0:100000:65536",
    "--cgroupns=private",
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp:rw,size=128m,mode=1777,nosuid,nodev,noexec",
    "--shm-size=64m",
    "--image-volume=ignore",
    "--volume=/data/out:/out:rw,nosuid,nodev,noexec",
    "--volume=/data/in/a:/in/a:ro,nosuid,nodev",
    "--memory=512m",
    "--memory-swap=512m",
    "--cpus=1.5",
    "--pids-limit=512",
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=4096:4096",
    "--ulimit=core=0:0",
    "--timeout=90",
    "--cgroup-parent=/berth-abc/job",
    "--network=none",
    "--no-hosts",
    "--hostname=job",
    "--http-proxy=false",
    "--init",
    "--restart=no",
    "--systemd=false",
    "--sdnotify=ignore",
    "--no-healthcheck",
    "--log-driver=k8s-file",
    "--log-opt=path=/data/log/raw",
    "--label=berth.run=run-a",
    "--label=berth.node=node-a",
    "--label=berth.job=0xabc",
    "--label=berth.replica=0",
    "--label=berth.attempt=1",
    `--label=berth.spec=${attemptHash(spec)}`,
    `--label=berth.policy=${policyHash()}`,
    "--env=GREETING=a=b c",
  ]) {
    it(`passes ${flag.split("=0x")[0]}`, () => expect(args).to.include(flag));
  }

  it("ends with the image's id and the command, word for word", () => {
    expect(args.slice(-3)).to.deep.equal([place.imageId, "render", "--size=640 480"]);
  });

  it("gives the entrypoint as JSON, so that no word is split", () => {
    expect(sandboxArgs({ ...spec, entrypoint: ["/bin/a b", "c"] }, place)).to.include('--entrypoint=["/bin/a b","c"]');
  });

  it("lets outputs take the place of /tmp", () => {
    const changed = sandboxArgs({ ...spec, outputPath: "/tmp" }, place);
    expect(changed.filter((arg) => arg.startsWith("--tmpfs"))).to.deep.equal([]);
  });

  it("names gVisor and its platform before the command, and leaves room for its threads", () => {
    const inGvisor = sandboxArgs({ ...spec, isolation: "gvisor" }, place);
    const runtime = ["--runtime=runsc", "--runtime-flag=platform=ptrace", "--runtime-flag=network=none"];
    expect(runtimeArgs({ ...spec, isolation: "gvisor" })).to.deep.equal(runtime);
    expect(inGvisor).to.include("--pids-limit=1024").and.include("--cap-drop=all").and.include("--network=none");
    expect(runtimeArgs(spec)).to.deep.equal([]);
  });

  it("passes GPUs by their CDI names", () => {
    const gpus = { ...spec, resources: { ...spec.resources, gpus: 1 }, gpuDevices: ["nvidia.com/gpu=0"] };
    expect(sandboxArgs(gpus, place)).to.include("--device=nvidia.com/gpu=0");
  });

  for (const [what, change] of Object.entries<Partial<AttemptSpec>>({
    "a mount over /proc": { outputPath: "/proc/self" },
    "a mount over the root": { outputPath: "/" },
    "a path with podman's separators": { outputPath: "/out:rw,exec" },
    "a path that climbs": { outputPath: "/out/../etc" },
    "a variable that is not a name": { env: { "A B": "" } },
    "a name that is an option": { name: "--privileged" },
    "a GPU that was not given": { resources: { ...spec.resources, gpus: 1 } },
    "no time at all": { maxSeconds: 0 },
  })) {
    it(`refuses ${what}`, () => {
      expect(() => sandboxArgs({ ...spec, ...change }, place))
        .to.throw(MarketError)
        .with.property("code", "SPEC_INVALID");
    });
  }

  it("refuses a host folder whose path podman would split", () => {
    expect(() => sandboxArgs(spec, { ...place, outputDir: "/data:ro" }))
      .to.throw(MarketError)
      .with.property("code", "ENGINE_PATH_REFUSED");
  });
});

describe("policyHash", () => {
  it("changes with every parameter", () => {
    const hashes = Object.keys(SANDBOX_POLICY).map((key) => policyHash({ ...SANDBOX_POLICY, [key]: "changed" }));
    expect(new Set([policyHash(), ...hashes]).size).to.equal(hashes.length + 1);
  });

  it("does not depend on the order in which parameters are written", () => {
    expect(policyHash(Object.fromEntries(Object.entries(SANDBOX_POLICY).reverse()))).to.equal(policyHash());
  });
});
