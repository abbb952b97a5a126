import { expect } from "chai";
import { createClock, isFollowed } from "../../../provider-node/src/core/clock.ts";

const NOW = 1_800_000_000;

describe("the chain's clock", () => {
  let wall: number;
  let steady: number;
  const read = () => ({ wallMs: wall * 1000, steadyMs: steady * 1000 });
  beforeEach(() => {
    wall = NOW;
    steady = 500;
  });

  it("is this machine's, a little after the newest head", () => {
    const clock = createClock(0, read);
    clock.saw(NOW - 9);
    expect(clock.now()).to.equal(NOW);
    wall += 30;
    steady += 30;
    expect(clock.now()).to.equal(NOW + 30);
  });

  it("is the newest head's, carried on, where this machine's is far away", () => {
    const clock = createClock(0, read);
    clock.saw(NOW + 9000);
    steady += 5;
    expect(clock.now()).to.equal(NOW + 9005);
  });

  it("does not follow a step of this machine's clock, forwards or backwards", () => {
    const clock = createClock(0, read);
    clock.saw(NOW - 2);
    for (const step of [3600, -3600]) {
      wall = NOW + step;
      expect(clock.now()).to.equal(NOW - 2);
    }
    steady += 60;
    expect(clock.now()).to.equal(NOW + 58);
  });

  it("is never before what was followed already, while no head was seen yet", () => {
    expect(createClock(NOW + 50, read).now()).to.equal(NOW + 50);
    expect(createClock(NOW - 50, read).now()).to.equal(NOW);
    expect(createClock(0, read).now()).to.equal(NOW);
  });
});

describe("isFollowed", () => {
  it("says whether what is known of the chain is what it is now", () => {
    expect(isFollowed(undefined)).to.equal(false);
    for (const state of ["starting", "behind", "unavailable", "stopped"] as const)
      expect(isFollowed({ state, lagBlocks: 0 }), state).to.equal(false);
    expect(isFollowed({ state: "following", lagBlocks: 1 })).to.equal(true);
    expect(isFollowed({ state: "catching-up", lagBlocks: 1 })).to.equal(false);
    expect(isFollowed({ state: "catching-up", lagBlocks: null })).to.equal(false);
    expect(isFollowed({ state: "catching-up", lagBlocks: 0 })).to.equal(true);
  });
});
