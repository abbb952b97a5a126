// Verifiers that lie, fail, burn their gas or answer with a bomb: both orders named them, and still nobody's money is stuck.
import type { Address, Claim } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import { DOLLAR, jobId, matchJob, readyMarket, State, termsFor } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";
import { hex } from "./support.ts";

const word = (value: number | bigint) => ethers.toBeHex(value, 32);
const BOMB_BYTES = 200_000;
const claim: Claim = { resultHash: hex("result"), resultBytes: 900n, charge: 5n };

/** A market whose nodes accept a verifier that does what it is told. */
async function markedJob() {
  const on = await readyMarket();
  const judge = await ethers.deployContract("JudgeDouble");
  const verifier = (await judge.getAddress()) as Address;
  await on.market.connect(on.operator).setAccepted(on.operator, [on.token, verifier], true);
  const request = on.request({ verifier, challengeWindow: 100, arbiterWindow: 200 });
  const offer = on.offer({ verifier });
  await matchJob(on, { request, offers: [offer] });
  const set = judge.getFunction("set");
  return { ...on, verifier, terms: termsFor(on, request, offer), job: jobId(on, request), set };
}

describe("a hostile verifier", () => {
  const silent: Record<string, [word: string, length: number, fails: boolean, burns: boolean]> = {
    "reverts with a reason": [word(1), 32, true, false],
    "reverts with a bomb": [word(1), BOMB_BYTES, true, false],
    "burns all its gas": [word(1), 32, false, true],
    "answers less than a word": [word(1), 31, false, false],
    "answers a number that is no verdict": [word(4), 32, false, false],
    "answers a bomb that is no verdict": [word((1n << 256n) - 1n), BOMB_BYTES, false, false],
  };
  for (const [what, behaviour] of Object.entries(silent)) {
    it(`that ${what} decides nothing: refunded and released when its time is over`, async () => {
      const on = await loadFixture(markedJob);
      await on.set(...behaviour);
      await on.market.connect(on.nodeKey).submit(on.terms, claim, "0x");
      const submittedAt = await time.latest();
      expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Judging);
      await at(submittedAt + 300);
      await expect(on.market.connect(on.stranger).finalize(on.terms, claim, { gasLimit: 2_000_000 }))
        .to.be.revertedWithCustomError(on.market, "WindowOpen")
        .withArgs(on.job, 0, submittedAt + 300);
      await at(submittedAt + 301);
      await on.market.connect(on.stranger).finalize(on.terms, claim, { gasLimit: 2_000_000 });
      expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Refunded);
      expect(await on.staking.stakeOf(on.operator, on.token)).to.deep.equal([10n * DOLLAR, 0n]);
      expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR);
      await expectNothingLost(on);
    });
  }

  it("that refuses at the submission leaves the replica as it was", async () => {
    const on = await loadFixture(markedJob);
    for (const verdict of [2, 3]) {
      await on.set(word(verdict), 32, false, false);
      await expect(on.market.connect(on.nodeKey).submit(on.terms, claim, "0x"))
        .to.be.revertedWithCustomError(on.market, "ResultRefused")
        .withArgs(on.job, 0, on.verifier);
    }
    await on.set(word(1), 32, false, false);
    await on.market.connect(on.nodeKey).submit(on.terms, claim, "0x");
    expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Submitted);
  });

  it("that changes its mind and condemns a result makes nobody richer", async () => {
    const on = await loadFixture(markedJob);
    await on.set(word(0), 32, false, false);
    await on.market.connect(on.nodeKey).submit(on.terms, claim, "0x");
    await on.set(word(2), 32, false, false);
    await time.increase(101);
    await on.market.connect(on.stranger).finalize(on.terms, claim);
    expect(await on.staking.owedTo(on.sink, on.token)).to.equal(1000n);
    expect(await on.staking.owedTo(on.requester, on.token)).to.equal(0n);
    expect(await on.staking.owedTo(on.stranger, on.token)).to.equal(0n);
    await expectNothingLost(on);
  });
});
