// R11, capped calls: too little gas is refused, answers are bounded, and failing at the full cap decides nothing. The attacks of each
// kind of callee are in ../hostile.test.ts, those of batches in ../JobMarket.matchMany.test.ts and finalizeMany.
import { expect } from "chai";
import { at, ethers, loadFixture } from "../../support/actors.ts";
import { CHALLENGE, CLAIM, judgedResult, Manner, running, Verdict, verifiedMarket } from "../../support/disputes.ts";
import { addressOf, jobId, readyMarket, State, signOffer, signRequest } from "../../support/market.ts";

const CAP = 300_000n;
const WALLET_GAS = 200_000n;
const needed = (cap: bigint) => cap + cap / 63n + 20_000n;

describe("R11: capped calls", () => {
  it("a verifier is asked with all that it was promised or not at all, to the unit", async () => {
    const on = await loadFixture(judgedResult);
    const { market, verifier, stranger, terms, claim, submittedAt } = on;
    await verifier.set(Manner.Answers, Verdict.Stands);
    await at(submittedAt + CHALLENGE + 1);
    await ethers.provider.send("evm_mine", []);
    const finalize = (gasLimit: bigint) => market.connect(stranger).finalize.staticCall(terms, claim, { gasLimit });
    let [little, enough] = [CAP, 2n * CAP];
    while (enough - little > 1n) {
      const middle = (little + enough) / 2n;
      const done = await finalize(middle).then(
        () => true,
        () => false,
      );
      if (done) enough = middle;
      else little = middle;
    }
    await expect(finalize(little)).to.be.revertedWithCustomError(market, "GasTooLow").withArgs(needed(CAP));
    await finalize(enough);
  });

  it("a wallet is asked with all that it was promised or not at all", async () => {
    const on = await loadFixture(readyMarket);
    const owned = await ethers.deployContract("OwnedWallet", [on.requester]);
    const request = on.request({ requester: (await owned.getAddress()) as `0x${string}`, payer: addressOf(on.payer) });
    const [bySigner, byPayer] = [
      await signRequest(on, on.requester, request),
      await signRequest(on, on.payer, request),
    ];
    const [offer, offerSignature] = [on.offer(), await signOffer(on, on.nodeKey, on.offer())];
    const send = (gasLimit: bigint) =>
      on.market.connect(on.matcher).matchJob(request, bySigner, byPayer, [offer], [offerSignature], [], { gasLimit });
    await expect(send(150_000n)).to.be.revertedWithCustomError(on.market, "GasTooLow").withArgs(needed(WALLET_GAS));
    await send(1_000_000n);
    expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Active);
  });

  it("an answer of any length costs whoever asks no more than the cap", async () => {
    const gas: bigint[] = [];
    for (const manner of [Manner.Answers, Manner.Floods]) {
      const { market, verifier, nodeKey, terms } = await running(await loadFixture(verifiedMarket));
      await verifier.set(manner, Verdict.Stands);
      const sent = await market.connect(nodeKey).submit(terms, CLAIM, "0x");
      gas.push(((await sent.wait())?.gasUsed ?? 0n) as bigint);
    }
    const [short, long] = gas as [bigint, bigint];
    // Twenty thousand bytes of memory cost the verifier 3 gas a word and their square over 512; nobody copies them.
    const words = 20_032n / 32n;
    expect(long - short < 2n * (3n * words + (words * words) / 512n)).to.equal(true);
  });

  it("an answer that is too short is none, even where memory would complete it", async () => {
    const { verifier, verifierAddress, stranger } = await loadFixture(verifiedMarket);
    const scratch = await ethers.deployContract("HostileScratch");
    const ask = (target: string) => scratch.getFunction("ask")(target, ethers.toBeHex(Verdict.Stands, 32));
    await verifier.set(Manner.Answers, Verdict.Stands);
    expect(await ask(verifierAddress)).to.deep.equal([true, Verdict.Stands]);
    await verifier.set(Manner.Mumbles, Verdict.Stands);
    expect(await ask(verifierAddress)).to.deep.equal([false, 0n]);
    // An account without code answers nothing at all.
    expect(await ask(stranger.address)).to.deep.equal([false, 0n]);
  });

  it("failing at the full cap is no default for anyone: neither the node is paid nor is its bond touched", async () => {
    for (const manner of [Manner.Burns, Manner.Reverts, Manner.Bombs]) {
      const { market, staking, token, verifier, operator, stranger, terms, claim, job, submittedAt } =
        await loadFixture(judgedResult);
      await verifier.set(manner, Verdict.Stands);
      await at(submittedAt + CHALLENGE + 1);
      await expect(market.connect(stranger).finalize(terms, claim)).to.be.revertedWithCustomError(market, "WindowOpen");
      expect((await market.replicaOf(job, 0)).state).to.equal(State.Judging);
      expect(await market.balanceOf(operator, token)).to.equal(0n);
      expect((await staking.stakeOf(operator, token)).locked).to.equal(1000n);
    }
  });
});
