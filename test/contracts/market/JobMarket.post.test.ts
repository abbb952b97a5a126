import { type Request, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture } from "../support/actors.ts";
import { addressOf, DOLLAR, jobId, readyMarket, State, signRequest, text32 } from "../support/market.ts";
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

  const unsound: [string, Partial<Request>][] = [
    ["requester", { requester: ZERO_ADDRESS }],
    ["replicas", { replicas: 0 }],
    ["matcherTip", { matcherTip: 10_000_001n }],
    ["submitWindow", { maxSeconds: 301 }],
    ["acceptWindow", { acceptWindow: 301 }],
    ["compensationBps", { compensationBps: 1001 }],
    ["verifier", { verifier: `0x${"9".repeat(40)}` }],
    ["arbiter", { arbiter: `0x${"9".repeat(40)}` }],
  ];
  for (const [field, replaced] of unsound) {
    it(`refuses an unsound ${field}`, async () => {
      const on = await loadFixture(readyMarket);
      const request = on.request(replaced);
      await expect(on.market.connect(on.requester).post(request, "0x", "0x"))
        .to.be.revertedWithCustomError(on.market, "BadRequest")
        .withArgs(jobId(on, request), text32(field));
    });
  }

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
    const word = 7; // replicas, a uint16
    const start = 2 + 8 + word * 64;
    const dirty = `${data.slice(0, start)}01${data.slice(start + 2)}`;
    await expect(requester.sendTransaction({ to: on.addresses.market, data: dirty })).to.be.revertedWithoutReason(
      ethers,
    );
    const emitted = 6 + 5; // gpus, which post only emits
    const at = 2 + 8 + emitted * 64;
    const hidden = `${data.slice(0, at)}01${data.slice(at + 2)}`;
    await expect(requester.sendTransaction({ to: on.addresses.market, data: hidden })).to.be.revertedWithoutReason(
      ethers,
    );
  });
});
