import { expect } from "chai";
import { capacityIn, misfit, readPartition } from "../../../provider-node/src/engine/slurm-partition.ts";

const options = { reserveMiB: 512, gres: "gpu" };
const large = { cpuMilli: 64_000, memoryMiB: 250_000, gpus: 0, seconds: 3600 };

describe("slurm partition", () => {
  it("sums the nodes that take jobs, each less its reserve", () => {
    const partition = readPartition(
      [
        "n1|64|257000|idle|(null)|1-00:00:00",
        "n2|64|257000|mixed|gpu:a100:4(S:0-1)|1-00:00:00",
        "n3|64|257000|allocated|gpu:2,shard:8|1-00:00:00",
        "n4|64|257000|down*|gpu:8|1-00:00:00",
        "n5|64|257000|idle*|(null)|1-00:00:00",
        "n6|64|257000|drained|(null)|1-00:00:00",
        "n7|64|400|idle|(null)|1-00:00:00",
      ].join("\n"),
      options,
    );
    expect(capacityIn(partition)).to.deep.equal({ cpuMilli: 192_000, memoryMiB: 3 * 256_488, gpus: 6 });
    expect(partition.maxSeconds).to.equal(86_400);
  });

  it("reads every way in which Slurm writes a time limit", () => {
    const limits = { infinite: undefined, "30:00": 1800, "2:00:30": 7230, "3-01:00:00": 262_800 };
    for (const [text, seconds] of Object.entries(limits)) {
      expect(readPartition(`n|1|1000|idle|(null)|${text}`, options).maxSeconds, text).to.equal(seconds);
    }
    expect(() => readPartition("n|1|1000|idle|(null)|soon", options)).to.throw(/"soon"/);
  });

  it("knows that a job has to fit one node, and the time limit", () => {
    const partition = readPartition("n1|64|257000|idle|(null)|1:00:00\nn2|8|999512|down*|gpu:2|1:00:00", options);
    expect(misfit(partition, large)).to.equal(undefined);
    expect(misfit(partition, { ...large, cpuMilli: 64_001 })).to.match(/No single node/);
    expect(misfit(partition, { ...large, memoryMiB: 256_489 })).to.match(/No single node/); // n2 has it, but not the cores
    expect(misfit(partition, { cpuMilli: 8000, memoryMiB: 999_000, gpus: 2, seconds: 1 })).to.equal(undefined);
    expect(misfit(partition, { cpuMilli: 8000, memoryMiB: 1, gpus: 3, seconds: 1 })).to.match(/No single node/);
    expect(misfit(partition, { ...large, seconds: 3601 })).to.match(/time limit is 3600 s/);
  });
});
