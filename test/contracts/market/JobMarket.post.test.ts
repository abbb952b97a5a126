import { MODE, orderTypes, type Request, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture } from "../support/actors.ts";
import { addressOf, DAY, DOLLAR, jobId, readyMarket, State, signRequest, text32 } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

describe("JobMarket#post", () => {
  it("reserves the price limit and shows the request to everybody", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester } = on;
    const request = on.request();
    const id = jobId(on, request);
    expect(await market.connect(requester).post.staticCall(request, "0x", "0x")).to.equal(id);
    await expect(market.connect(requester).post(request, "0x", "0x"))
      .to.emit(market, "RequestPosted")
      .withArgs(id, requester.address, Object.values(request));
    expect(await market.balanceOf(requester, token)).to.equal(90n * DOLLAR);
    expect(await market.replicaOf(id, 0)).to.deep.equal([State.Posted, 0n, 0n, id.slice(0, 44)]);
    await expectNothingLost(on, request.maxPrice);
  });

  it("takes a request that the requester signed, from anybody", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request();
    await on.market.connect(on.stranger).post(request, await signRequest(on, on.requester, request), "0x");
    expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Posted);
  });

  it("takes money from a payer who signed, or who calls", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, payer } = on;
    const request = on.request({ payer: addressOf(payer) });
    await market.connect(requester).post(request, "0x", await signRequest(on, payer, request));
    const other = on.request({ payer: addressOf(payer), nonce: ethers.id("other") as `0x${string}` });
    await market.connect(payer).post(other, await signRequest(on, requester, other), "0x");
    expect(await market.balanceOf(payer, token)).to.equal(80n * DOLLAR);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
  });

  it("takes the signature of a wallet that is a contract", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, stranger } = on;
    const wallet = (await (await ethers.deployContract("OwnedWallet", [requester])).getAddress()) as `0x${string}`;
    await token.mint(requester, 10n * DOLLAR);
    await token.connect(requester).approve(market, 10n * DOLLAR);
    await market.connect(requester).deposit(wallet, token, 10n * DOLLAR);
    const request = on.request({ requester: wallet, payer: wallet });
    await market.connect(stranger).post(request, await signRequest(on, requester, request), "0x");
    expect(await market.balanceOf(wallet, token)).to.equal(0n);
  });

  it("refuses a requester or a payer who did not sign", async () => {
    const on = await loadFixture(readyMarket);
    const { market, requester, payer, stranger } = on;
    const request = on.request({ payer: addressOf(payer) });
    const id = jobId(on, request);
    const forged = await signRequest(on, stranger, request);
    await expect(market.connect(stranger).post(request, forged, "0x"))
      .to.be.revertedWithCustomError(market, "BadRequestSignature")
      .withArgs(id, requester.address);
    await expect(market.connect(requester).post(request, "0x", forged))
      .to.be.revertedWithCustomError(market, "BadPayerSignature")
      .withArgs(id, payer.address);
    const nobody = on.request({ payer: ZERO_ADDRESS });
    await expect(market.connect(requester).post(nobody, "0x", "0x"))
      .to.be.revertedWithCustomError(market, "BadPayerSignature")
      .withArgs(jobId(on, nobody), ZERO_ADDRESS);
  });

  it("survives a wallet that answers with a megabyte", async () => {
    const on = await loadFixture(readyMarket);
    const wallet = (await (await ethers.deployContract("BombWallet")).getAddress()) as `0x${string}`;
    const request = on.request({ requester: wallet });
    await expect(on.market.connect(on.stranger).post(request, "0x", "0x"))
      .to.be.revertedWithCustomError(on.market, "BadRequestSignature")
      .withArgs(jobId(on, request), wallet);
  });

  const judge = `0x${"9".repeat(40)}` as const;
  const year = 366 * DAY;
  const lease = { mode: MODE.lease, heartbeatSeconds: 60, noticeSeconds: 60 };
  const disputable = { arbiter: judge, arbiterWindow: 60 };
  const unsound: [string, string, Partial<Request>][] = [
    ["requester", "nobody", { requester: ZERO_ADDRESS }],
    ["replicas", "none", { replicas: 0 }],
    ["matcherTip", "above the price", { matcherTip: 10_000_001n }],
    ["compensationBps", "above a tenth", { compensationBps: 1001 }],
    ["bounty", "above a tenth of the bond", { bounty: 101n }],
    ["submitWindow", "shorter than the job", { maxSeconds: 301 }],
    ["submitWindow", "longer than a year", { submitWindow: year + 1 }],
    ["acceptWindow", "past the submit window", { acceptWindow: 301 }],
    ["arbiterWindow", "no time for the verifier", { verifier: judge }],
    ["arbiterWindow", "no time for the arbiter", { arbiter: judge }],
    ["challengeWindow", "no time to dispute", { ...disputable, challengeWindow: 0 }],
    ["arbiterFee", "above the bond that would pay it", { ...disputable, arbiterFee: 1001n }],
    ["heartbeatSeconds", "none in a lease", { ...lease, heartbeatSeconds: 0 }],
    ["heartbeatSeconds", "longer than a year", { ...lease, heartbeatSeconds: year + 1 }],
    ["noticeSeconds", "longer than a year", { ...lease, noticeSeconds: year + 1 }],
    ["acceptWindow", "past a lease's second heartbeat", { ...lease, acceptWindow: 121 }],
    ["verifier", "of a lease", { ...lease, verifier: judge, arbiterWindow: 60 }],
    ["arbiter", "of a lease", { ...lease, ...disputable }],
  ];
  for (const [field, why, replaced] of unsound) {
    it(`refuses an unsound ${field}: ${why}`, async () => {
      const on = await loadFixture(readyMarket);
      const request = on.request(replaced);
      await expect(on.market.connect(on.requester).post(request, "0x", "0x"))
        .to.be.revertedWithCustomError(on.market, "BadRequest")
        .withArgs(jobId(on, request), text32(field));
    });
  }

  const edges: [string, Partial<Request>][] = [
    ["amounts", { matcherTip: 10_000_000n, compensationBps: 1000, bounty: 100n }],
    ["windows", { maxSeconds: 300, acceptWindow: 300 }],
    ["year", { submitWindow: year }],
    ["verifier", { verifier: judge, arbiterWindow: 1, challengeWindow: 0 }],
    ["arbiter", { arbiter: judge, arbiterWindow: 1, challengeWindow: 1, arbiterFee: 1000n }],
    ["lease", { ...lease, acceptWindow: 120, submitWindow: 0, maxSeconds: 10 * DAY, noticeSeconds: 0 }],
    ["lease of a year", { ...lease, heartbeatSeconds: year, noticeSeconds: year }],
  ];
  for (const [name, replaced] of edges) {
    it(`takes a request that is sound to the unit: ${name}`, async () => {
      const on = await loadFixture(readyMarket);
      const request = on.request(replaced);
      await on.market.connect(on.requester).post(request, "0x", "0x");
      expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Posted);
    });
  }

  it("is stopped by the guardian, who stops no cancellation", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, guardian } = on;
    const [first, second] = [on.request(), on.request({ nonce: ethers.id("second") as `0x${string}` })];
    await market.connect(requester).post(first, "0x", "0x");
    await market.connect(guardian).setPaused(true);
    await expect(market.connect(requester).post(second, "0x", "0x")).to.be.revertedWithCustomError(
      market,
      "NewJobsPaused",
    );
    await market.connect(requester).cancel(first);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    await market.connect(guardian).setPaused(false);
    await market.connect(requester).post(second, "0x", "0x");
    await expectNothingLost(on, second.maxPrice);
  });

  it("refuses a request whose time has passed, and takes it in its last second", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request();
    await at(request.openUntil + 1);
    await expect(on.market.connect(on.requester).post(request, "0x", "0x"))
      .to.be.revertedWithCustomError(on.market, "RequestExpired")
      .withArgs(jobId(on, request), request.openUntil);
    const again = await loadFixture(readyMarket);
    await at(request.openUntil);
    await again.market.connect(again.requester).post(request, "0x", "0x");
  });

  it("refuses a payer without the money", async () => {
    const on = await loadFixture(readyMarket);
    const { market, requester, addresses } = on;
    const request = on.request({ maxPrice: 100n * DOLLAR + 1n });
    await expect(market.connect(requester).post(request, "0x", "0x"))
      .to.be.revertedWithCustomError(market, "BalanceTooLow")
      .withArgs(requester.address, addresses.token, 100n * DOLLAR, request.maxPrice);
  });

  it("posts a request once", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request();
    await on.market.connect(on.requester).post(request, "0x", "0x");
    await expect(on.market.connect(on.requester).post(request, "0x", "0x"))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(jobId(on, request), 0, State.Posted, State.None);
  });

  it("refuses words with stray bits, whose hash would be another job's", async () => {
    const on = await loadFixture(readyMarket);
    const { market, requester } = on;
    const data = market.interface.encodeFunctionData("post", [on.request(), "0x", "0x"]);
    // Every word but those that may have any bits: traits and the 32 bytes of names, hashes and the nonce.
    const narrow = orderTypes.Request.map(({ type }, word) => ({ type, word })).filter(
      ({ type }) => type !== "uint256" && type !== "bytes32",
    );
    expect(narrow.length).to.equal(27);
    for (const { word } of narrow) {
      const start = 2 + 8 + word * 64;
      const dirty = `${data.slice(0, start)}01${data.slice(start + 2)}`;
      const sending = requester.sendTransaction({ to: on.addresses.market, data: dirty });
      await expect(sending).to.be.revertedWithCustomError(market, "StrayBits");
    }
    await requester.sendTransaction({ to: on.addresses.market, data });
  });
});
