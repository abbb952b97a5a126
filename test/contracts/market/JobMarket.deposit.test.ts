import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import { DOLLAR, deployedMarket } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";
import { signPermit } from "../support/permit.ts";

const DEADLINE = 1n << 39n;

async function moneyInHand() {
  const on = await deployedMarket();
  await on.token.mint(on.payer, 10n * DOLLAR);
  await on.token.connect(on.payer).approve(on.market, 10n * DOLLAR);
  return on;
}

describe("JobMarket#deposit", () => {
  it("credits the account named, from whoever calls", async () => {
    const on = await loadFixture(moneyInHand);
    const { market, token, payer, requester, addresses } = on;
    await expect(market.connect(payer).deposit(requester, token, DOLLAR))
      .to.emit(market, "Deposited")
      .withArgs(requester.address, addresses.token, DOLLAR, payer.address);
    expect(await market.balanceOf(requester, token)).to.equal(DOLLAR);
    expect(await token.balanceOf(payer)).to.equal(9n * DOLLAR);
    await expectNothingLost(on);
  });

  it("refuses nothing", async () => {
    const { market, token, payer } = await loadFixture(moneyInHand);
    await expect(market.connect(payer).deposit(payer, token, 0n)).to.be.revertedWithCustomError(market, "ZeroAmount");
  });

  it("refuses a token that moves another amount", async () => {
    const { market, payer } = await loadFixture(moneyInHand);
    const fee = await ethers.deployContract("FeeToken");
    await fee.getFunction("mint")(payer, 100n);
    await fee.connect(payer).getFunction("approve")(market, 100n);
    await expect(market.connect(payer).deposit(payer, fee, 100n))
      .to.be.revertedWithCustomError(market, "WrongAmountMoved")
      .withArgs(await fee.getAddress(), 100n, 99n);
  });

  it("refuses an account that is no token", async () => {
    const { market, payer, stranger } = await loadFixture(moneyInHand);
    await expect(market.connect(payer).deposit(payer, stranger, 1n))
      .to.be.revertedWithCustomError(market, "NotAToken")
      .withArgs(stranger.address);
    const permit = [1n, DEADLINE, 27, ethers.ZeroHash, ethers.ZeroHash] as const;
    await expect(market.connect(payer).depositWithPermit(payer, stranger, ...permit))
      .to.be.revertedWithCustomError(market, "NotAToken")
      .withArgs(stranger.address);
  });

  it("counts money once when a token calls back in the middle of a transfer", async () => {
    const { market, payer } = await loadFixture(moneyInHand);
    const hook = await ethers.deployContract("HookToken");
    const call = (name: string, ...args: unknown[]) => hook.connect(payer).getFunction(name)(...args);
    await call("mint", payer, 200n);
    await call("mint", hook, 100n);
    await call("approve", market, 200n);
    // The token itself is an account with 100 units in the market, which it takes out in the middle of a deposit.
    await market.connect(payer).deposit(hook, hook, 100n);
    await call(
      "arm",
      market,
      market.interface.encodeFunctionData("withdraw", [...Array(2).fill(await hook.getAddress()), 100n, payer.address]),
    );
    await expect(market.connect(payer).deposit(payer, hook, 100n))
      .to.be.revertedWithCustomError(market, "WrongAmountMoved")
      .withArgs(await hook.getAddress(), 100n, 0n);
    expect(await market.balanceOf(hook, hook)).to.equal(100n);
    expect(await market.balanceOf(payer, hook)).to.equal(0n);
  });
});

describe("JobMarket#depositWithPermit", () => {
  it("needs one transaction, even when somebody sent the permit first", async () => {
    const on = await loadFixture(moneyInHand);
    const { market, token, payer, stranger } = on;
    await token.connect(payer).approve(market, 0n);
    for (const sentBefore of [false, true]) {
      const { deadline, v, r, s } = await signPermit(on, payer, on.addresses.market, DOLLAR);
      if (sentBefore) await token.connect(stranger).permit(payer, market, DOLLAR, deadline, v, r, s);
      await market.connect(payer).depositWithPermit(payer, token, DOLLAR, deadline, v, r, s);
    }
    expect(await market.balanceOf(payer, token)).to.equal(2n * DOLLAR);
    await expectNothingLost(on);
  });
});

describe("JobMarket#withdraw", () => {
  it("pays what is on the balance to any address", async () => {
    const on = await loadFixture(moneyInHand);
    const { market, token, payer, heir, addresses } = on;
    await market.connect(payer).deposit(payer, token, DOLLAR);
    await expect(market.connect(payer).withdraw(payer, token, 400n, heir))
      .to.emit(market, "Withdrawn")
      .withArgs(payer.address, addresses.token, 400n, heir.address);
    expect(await token.balanceOf(heir)).to.equal(400n);
    expect(await market.balanceOf(payer, token)).to.equal(DOLLAR - 400n);
    await expectNothingLost(on);
  });

  it("follows the identity: its owner withdraws, and its last owner once it is deactivated", async () => {
    const { market, identity, token, payer, heir } = await loadFixture(moneyInHand);
    await market.connect(payer).deposit(payer, token, DOLLAR);
    await identity.connect(payer).changeOwner(payer, heir);
    await expect(market.connect(payer).withdraw(payer, token, 1n, payer))
      .to.be.revertedWithCustomError(market, "NotController")
      .withArgs(payer.address, payer.address);
    await identity.connect(heir).changeOwner(payer, ethers.ZeroAddress);
    await market.connect(heir).withdraw(payer, token, DOLLAR, heir);
    expect(await token.balanceOf(heir)).to.equal(DOLLAR);
  });

  it("refuses nothing and more than there is", async () => {
    const { market, token, payer, addresses } = await loadFixture(moneyInHand);
    await expect(market.connect(payer).withdraw(payer, token, 0n, payer)).to.be.revertedWithCustomError(
      market,
      "ZeroAmount",
    );
    await market.connect(payer).deposit(payer, token, 5n);
    await expect(market.connect(payer).withdraw(payer, token, 6n, payer))
      .to.be.revertedWithCustomError(market, "BalanceTooLow")
      .withArgs(payer.address, addresses.token, 5n, 6n);
  });

  it("never lets a token take more out than was asked for", async () => {
    const { market, payer } = await loadFixture(moneyInHand);
    const hook = await ethers.deployContract("HookToken");
    const call = (name: string, ...args: unknown[]) => hook.connect(payer).getFunction(name)(...args);
    await call("mint", payer, 100n);
    await call("approve", market, 100n);
    await market.connect(payer).deposit(hook, hook, 50n);
    await market.connect(payer).deposit(payer, hook, 50n);
    // In the middle of one withdrawal the token makes another, of its own balance.
    const inner = [await hook.getAddress(), await hook.getAddress(), 10n, payer.address];
    await call("arm", market, market.interface.encodeFunctionData("withdraw", inner));
    await expect(market.connect(payer).withdraw(payer, hook, 50n, payer))
      .to.be.revertedWithCustomError(market, "WrongAmountMoved")
      .withArgs(await hook.getAddress(), 50n, 60n);
    await call("arm", ethers.ZeroAddress, "0x");
    await market.connect(payer).withdraw(payer, hook, 50n, payer);
    expect(await hook.getFunction("balanceOf")(market)).to.equal(50n);
  });
});
