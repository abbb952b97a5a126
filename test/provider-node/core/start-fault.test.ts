import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import { specFaultOf } from "../../../provider-node/src/core/start-fault.ts";

const refusal = (said: string, code = "ENGINE_FAILED") => specFaultOf(new MarketError(code, said));

describe("specFaultOf", () => {
  const id = "22e1ea8a6041096cde12162fc024b0179231c82badb5ae234b9324c51b825d91";
  const mount =
    'OCI runtime error: runc: runc create failed: unable to start container process: error during container init: error mounting "/var/lib/berth/engine/attempts/a/out" to rootfs at "/bin/sh": mount /proc/self/fd/6:/bin/sh (via /proc/self/fd/11), flags: 0x500e:';

  for (const [said, code] of [
    [`Starting the container failed: Error: workdir "/no" does not exist on container ${id}.`, "WORKDIR_MISSING"],
    [
      `Starting the container failed: Error: workdir "/bin/sh" exists on container ${id}, but is not a directory.`,
      "WORKDIR_MISSING",
    ],
    ['Starting the attempt failed: the image has no folder "/no".', "WORKDIR_MISSING"],
    [`Starting the container failed: Error: ${mount} not a directory.`, "PATH_TAKEN"],
  ] as const)
    it(`says ${code} of: ${said.slice(-60)}`, () => {
      expect(refusal(said)).to.include(`(${code})`);
      expect(refusal(said)).to.not.match(/\/(no|bin|var|proc)|[0-9a-f]{64}/); // nothing of what the runtime said
      expect(refusal(said, "ENGINE_CREATE_FAILED")).to.equal(undefined);
    });

  for (const said of [
    `Starting the container failed: Error: ${mount} no such file or directory.`,
    `Starting the container failed: Error: ${mount} operation not permitted.`,
    "Starting the container failed: Error: write /var/lib/berth/engine/tmp/x: no space left on device.",
    "Starting the container failed: Error: OCI runtime error: runc: fork/exec /proc/self/exe: resource temporarily unavailable.",
    'Starting the container failed: Error: OCI runtime error: runc: exec: "/dev/init": stat /dev/init: no such file or directory.',
    "Starting the container failed: Slurm gave 0 GPUs of 1.",
    "Starting the attempt failed: its monitor died.",
  ])
    it(`does not blame the spec for: ${said.slice(-60)}`, () => {
      expect(refusal(said)).to.equal(undefined);
    });

  it("says nothing of errors of another kind", () => {
    expect(specFaultOf(new Error('the image has no folder "/no".'))).to.equal(undefined);
    expect(specFaultOf(undefined)).to.equal(undefined);
  });
});
