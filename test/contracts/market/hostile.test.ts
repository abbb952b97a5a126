// Tokens, wallets, verifiers and arbiters that cheat, fail or never answer: none keeps anybody else from what is theirs.
import { type Address, type Claim, type Hex, MODE, type Request } from "@berth/protocol";
import { expect } from "chai";
import type { BaseContract } from "ethers";
import { type Actor, at, ethers, loadFixture, time } from "../support/actors.ts";
import {
  ARBITER_WINDOW,
  arbitratedMarket,
  CHALLENGE,
  CLAIM,
  DEPOSIT,
  FEE,
  judgedBy,
  judgedResult,
  Manner,
  running,
  Verdict,
  verifiedMarket,
} from "../support/disputes.ts";
import {
  DOLLAR,
  jobId,
  matchJob,
  NO_CLAIM,
  readyMarket,
  State,
  signOffer,
  signRequest,
  termsFor,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const nonce = (text: string) => ethers.id(text) as Hex;
const claim: Claim = { resultHash: nonce("result"), resultBytes: 512n, charge: 5n };
/** Of HostileToken. */
const Mood = { Kind: 0, Paused: 1, SaysNo: 2, SaysYes: 3, Burns: 4, Forgets: 5 };
const MOODS = Object.entries(Mood).filter(([name]) => name !== "Kind");

/** A market with a second token, `bad`, in which the requester has money and the operator stake, 10,000 units each. */
async function marketWithToken(name: string) {
  const on = await readyMarket();
  const { market, staking, requester, operator } = on;
  const contract: BaseContract = await ethers.deployContract(name);
  const bad = (by: Actor, call: string, ...args: unknown[]) =>
    (contract.connect(by) as BaseContract).getFunction(call)(...args);
  const badToken = (await contract.getAddress()) as Address;
  for (const [owner, spender] of [
    [requester, market],
    [operator, staking],
  ] as const) {
    await bad(owner, "mint", owner, 20_000n);
    await bad(owner, "approve", spender, 20_000n);
  }
  await market.connect(requester).deposit(requester, badToken, 10_000n);
  await staking.connect(operator).stake(operator, badToken, 10_000n);
  await market.connect(operator).setAccepted(operator, [badToken], true);
  const inBad = (replaced: Partial<Request> = {}) => on.request({ token: badToken, maxPrice: 200n, ...replaced });
  const start = async (replaced: Partial<Request> = {}) => {
    const [request, offer] = [inBad(replaced), on.offer({ token: badToken })];
    await matchJob(on, { request, offers: [offer] });
    return termsFor(on, request, offer);
  };
  return { ...on, bad, badToken, start };
}
const hostileToken = () => marketWithToken("HostileToken");
const noReturnToken = () => marketWithToken("NoReturnToken");
const hookToken = () => marketWithToken("HookToken");

describe("a token that turns hostile", () => {
  for (const [name, mood] of MOODS) {
    it(`stops no job and no slash: every way to end one goes on (${name})`, async () => {
      const on = await loadFixture(hostileToken);
      const { market, staking, operator, nodeKey, requester, stranger, badToken } = on;
      const lease = { mode: MODE.lease, heartbeatSeconds: 60, nonce: nonce("lease") };
      const [approved, late, declined, leased] = [
        await on.start({ nonce: nonce("approved") }),
        await on.start({ nonce: nonce("late"), bounty: 100n }),
        await on.start({ nonce: nonce("declined") }),
        await on.start(lease),
      ] as const;
      await on.bad(stranger, "setMood", mood);
      await market.connect(nodeKey).decline(declined, 0);
      await market.connect(nodeKey).submit(approved, claim, "0x");
      await market.connect(requester).approve(approved, claim);
      await market.connect(nodeKey).claim(leased);
      await market.connect(requester).close(leased);
      await time.increase(301);
      await market.connect(stranger).finalize(late, NO_CLAIM);
      expect((await market.replicaOf(approved.job.jobId, 0)).state).to.equal(State.Settled);
      expect((await market.replicaOf(leased.job.jobId, 0)).state).to.equal(State.Settled);
      for (const { job } of [late, declined]) {
        expect((await market.replicaOf(job.jobId, 0)).state).to.equal(State.Refunded);
      }
      expect(await staking.owedTo(stranger, badToken)).to.equal(100n);
      expect(await staking.stakeOf(operator, badToken)).to.deep.equal([9000n, 0n]);
      const [earned, left] = [await market.balanceOf(operator, badToken), await market.balanceOf(requester, badToken)];
      expect((earned as bigint) + (left as bigint)).to.equal(10_000n);
      expect((await market.useOf(operator, 0)).active).to.equal(0n);
    });

    it(`takes nothing out of the market's books or out of other tokens, and all is there once it is kind again (${name})`, async () => {
      const on = await loadFixture(hostileToken);
      const { market, staking, token, requester, operator, stranger, heir, badToken } = on;
      const late = await on.start({ bounty: 100n });
      await time.increase(301);
      await market.connect(stranger).finalize(late, NO_CLAIM);
      await staking.connect(operator).requestExit(operator, badToken, 9000n);
      await time.increase(7 * 86_400);

      await on.bad(stranger, "setMood", mood);
      const gas = { gasLimit: 1_000_000n };
      for (const call of [
        () => market.connect(requester).deposit(requester, badToken, 100n, gas),
        () => market.connect(requester).withdraw(requester, badToken, 100n, requester, gas),
        () => staking.connect(operator).stake(operator, badToken, 100n, gas),
        () => staking.connect(operator).exit(operator, badToken, operator, gas),
        () => staking.connect(stranger).collect(stranger, badToken, stranger, gas),
      ]) {
        await expect(call()).to.be.revert(ethers);
      }
      expect(await market.balanceOf(requester, badToken)).to.equal(10_000n);
      expect(await staking.owedTo(stranger, badToken)).to.equal(100n);
      expect((await staking.exitOf(operator, badToken)).amount).to.equal(9000n);
      await market.connect(requester).withdraw(requester, token, 100n * DOLLAR, heir);
      expect(await token.balanceOf(heir)).to.equal(100n * DOLLAR);

      await on.bad(stranger, "setMood", Mood.Kind);
      await market.connect(requester).withdraw(requester, badToken, 10_000n, requester);
      await staking.connect(operator).exit(operator, badToken, operator);
      for (const account of [stranger, requester, on.sink]) {
        await staking.connect(account).collect(account, badToken, account);
      }
      expect(await on.bad(stranger, "balanceOf", market)).to.equal(0n);
      expect(await on.bad(stranger, "balanceOf", staking)).to.equal(0n);
      await expectNothingLost(on);
    });
  }

  it("says no without reverting, and is not believed", async () => {
    const { market, requester, stranger, bad, badToken } = await loadFixture(hostileToken);
    await bad(stranger, "setMood", Mood.SaysNo);
    const safe = new ethers.Contract(badToken, ["error SafeERC20FailedOperation(address token)"], stranger);
    for (const call of [
      () => market.connect(requester).deposit(requester, badToken, 100n),
      () => market.connect(requester).withdraw(requester, badToken, 100n, requester),
    ]) {
      await expect(call()).to.be.revertedWithCustomError(safe, "SafeERC20FailedOperation").withArgs(badToken);
    }
  });

  it("says yes without moving anything, and is not believed", async () => {
    const { market, staking, requester, operator, stranger, bad, badToken } = await loadFixture(hostileToken);
    await bad(stranger, "setMood", Mood.SaysYes);
    for (const call of [
      () => market.connect(requester).deposit(requester, badToken, 100n),
      () => market.connect(requester).withdraw(requester, badToken, 100n, requester),
    ]) {
      await expect(call()).to.be.revertedWithCustomError(market, "WrongAmountMoved").withArgs(badToken, 100n, 0n);
    }
    await expect(staking.connect(operator).stake(operator, badToken, 100n))
      .to.be.revertedWithCustomError(staking, "WrongAmountMoved")
      .withArgs(badToken, 100n, 0n);
  });

  it("blocks an account, which blocks nobody else and takes its money elsewhere", async () => {
    const on = await loadFixture(hostileToken);
    const { market, operator, nodeKey, requester, stranger, heir, badToken } = on;
    const terms = await on.start();
    await on.bad(stranger, "setBlocked", operator, true);
    await on.bad(stranger, "setBlocked", on.sink, true);
    await market.connect(nodeKey).submit(terms, claim, "0x");
    await market.connect(requester).approve(terms, claim);
    await expect(market.connect(operator).withdraw(operator, badToken, 5n, operator)).to.be.revert(ethers);
    await market.connect(operator).withdraw(operator, badToken, 5n, heir);
    expect(await on.bad(heir, "balanceOf", heir)).to.equal(5n);
    await market.connect(requester).withdraw(requester, badToken, 9995n, requester);

    // A sink that is blocked stops no slash.
    await market.connect(requester).deposit(requester, badToken, 1000n);
    const late = await on.start({ nonce: nonce("late") });
    await time.increase(301);
    await market.connect(stranger).finalize(late, NO_CLAIM);
    expect((await market.replicaOf(late.job.jobId, 0)).state).to.equal(State.Refunded);
  });

  it("blocks the market itself, which still ends every job and pays in every other token", async () => {
    const on = await loadFixture(hostileToken);
    const { market, token, requester, nodeKey, operator, stranger, badToken } = on;
    const terms = await on.start();
    await on.bad(stranger, "setBlocked", market, true);
    await market.connect(nodeKey).submit(terms, claim, "0x");
    await market.connect(requester).approve(terms, claim);
    await expect(market.connect(operator).withdraw(operator, badToken, 5n, operator)).to.be.revert(ethers);
    await market.connect(requester).withdraw(requester, token, DOLLAR, requester);
    expect(await market.balanceOf(operator, badToken)).to.equal(5n);
  });
});

describe("a token whose transfers return nothing", () => {
  it("is as good as others", async () => {
    const on = await loadFixture(noReturnToken);
    const { market, staking, requester, operator, nodeKey, stranger, badToken } = on;
    const [paid, late] = [await on.start({ nonce: nonce("paid") }), await on.start({ bounty: 100n })] as const;
    await market.connect(nodeKey).submit(paid, claim, "0x");
    await market.connect(requester).approve(paid, claim);
    await time.increase(301);
    await market.connect(stranger).finalize(late, NO_CLAIM);
    await market.connect(operator).withdraw(operator, badToken, 5n, operator);
    await market.connect(requester).withdraw(requester, badToken, 9995n, requester);
    await staking.connect(stranger).collect(stranger, badToken, stranger);
    expect(await on.bad(stranger, "balanceOf", market)).to.equal(0n);
    expect(await on.bad(stranger, "balanceOf", stranger)).to.equal(100n);
    expect(await on.bad(stranger, "balanceOf", staking)).to.equal(10_000n - 100n);
  });
});

describe("a token that calls back in the middle of a transfer", () => {
  it("collects nothing twice, and nothing of others", async () => {
    const on = await loadFixture(hookToken);
    const { market, staking, requester, stranger, badToken } = on;
    // The token itself ends a job, so that it is owed a bounty that it may collect.
    const late = await on.start({ bounty: 100n });
    await time.increase(301);
    const finalizing = market.interface.encodeFunctionData("finalize", [late, NO_CLAIM]);
    await on.bad(stranger, "arm", market, finalizing);
    await market.connect(requester).withdraw(requester, badToken, 1n, requester);
    expect(await on.bad(stranger, "succeeded")).to.equal(true);
    expect(await staking.owedTo(badToken, badToken)).to.equal(100n);

    // In the middle of the requester's collecting it collects its own.
    const collecting = staking.interface.encodeFunctionData("collect", [badToken, badToken, stranger.address]);
    await on.bad(stranger, "arm", staking, collecting);
    await expect(staking.connect(requester).collect(requester, badToken, requester))
      .to.be.revertedWithCustomError(staking, "WrongAmountMoved")
      .withArgs(badToken, 3n, 103n);
    // In the middle of its own it collects again: there is nothing any more.
    await on.bad(
      stranger,
      "arm",
      staking,
      staking.interface.encodeFunctionData("collect", [requester.address, badToken, stranger.address]),
    );
    await staking.connect(requester).collect(requester, badToken, requester);
    expect(await on.bad(stranger, "succeeded")).to.equal(false);
    expect(await staking.owedTo(requester, badToken)).to.equal(0n);
    expect(await staking.owedTo(badToken, badToken)).to.equal(100n);
    expect(await on.bad(stranger, "balanceOf", staking)).to.equal(10_000n - 3n);
  });

  it("deposits nothing twice", async () => {
    const on = await loadFixture(hookToken);
    const { market, requester, stranger, badToken } = on;
    await on.bad(stranger, "mint", badToken, 100n);
    const inner = market.interface.encodeFunctionData("deposit", [stranger.address, badToken, 100n]);
    await on.bad(stranger, "arm", market, inner);
    await market.connect(requester).deposit(requester, badToken, 100n);
    // The token had not approved the market: its own deposit failed alone.
    expect(await on.bad(stranger, "succeeded")).to.equal(false);
    expect(await market.balanceOf(stranger, badToken)).to.equal(0n);
    expect(await market.balanceOf(requester, badToken)).to.equal(10_100n);
    expect(await on.bad(stranger, "balanceOf", market)).to.equal(10_100n);
  });
});

describe("a wallet that is a contract", () => {
  const wallets: [string, string, unknown[]][] = [
    ["answers true", "IdentityLiar", [ethers.toBeHex(1, 32)]],
    ["answers with the right word in the wrong place", "IdentityLiar", [ethers.zeroPadValue("0x1626ba7e", 32)]],
    [
      "answers with the right word and a stray bit",
      "IdentityLiar",
      [ethers.concat(["0x1626ba7e", ethers.toBeHex(1, 28)])],
    ],
    ["burns all its gas", "IdentityGasBurner", []],
    ["answers with a megabyte", "BombWallet", []],
  ];
  for (const [what, contract, args] of wallets) {
    it(`has not signed when it ${what}, as a requester or as a payer`, async () => {
      const on = await loadFixture(readyMarket);
      const wallet = (await (await ethers.deployContract(contract, args)).getAddress()) as Address;
      const asRequester = on.request({ requester: wallet });
      await expect(matchJob(on, { request: asRequester, requesterSignature: "0x" }))
        .to.be.revertedWithCustomError(on.market, "BadRequestSignature")
        .withArgs(jobId(on, asRequester), wallet);
      const asPayer = on.request({ payer: wallet });
      await expect(matchJob(on, { request: asPayer, payerSignature: "0x" }))
        .to.be.revertedWithCustomError(on.market, "BadPayerSignature")
        .withArgs(jobId(on, asPayer), wallet);
      // An identity may be handed to it, which gives it nothing but the identity's own trouble.
      await on.identity.connect(on.requester).changeOwner(on.requester, wallet);
      const controlled = on.request();
      await expect(matchJob(on, { request: controlled }))
        .to.be.revertedWithCustomError(on.market, "BadRequestSignature")
        .withArgs(jobId(on, controlled), on.requester.address);
      await expectNothingLost(on);
    });
  }

  it("is asked with its whole cap or not at all", async () => {
    const on = await loadFixture(readyMarket);
    const owned = await ethers.deployContract("OwnedWallet", [on.requester]);
    const wallet = (await owned.getAddress()) as Address;
    await on.market.connect(on.payer).withdraw(on.payer, on.token, 1000n, on.payer);
    await on.token.connect(on.payer).approve(on.market, 1000n);
    await on.market.connect(on.payer).deposit(wallet, on.token, 1000n);
    const request = on.request({ requester: wallet, payer: wallet, maxPrice: 1000n });
    const offer = on.offer();
    const signatures = [await signRequest(on, on.requester, request), await signOffer(on, on.nodeKey, offer)] as const;
    const send = (gasLimit: bigint) =>
      on.market.connect(on.matcher).matchJob(request, signatures[0], "0x", [offer], [signatures[1]], [], { gasLimit });
    await expect(send(150_000n)).to.be.revertedWithCustomError(on.market, "GasTooLow").withArgs(223_174n);
    await send(1_000_000n);
    expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Active);
    await expectNothingLost(on, 69n, [wallet]);
  });

  it("blocks nobody once its job runs, however hostile it has become: it is never called again", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, operator, nodeKey, stranger, requester } = on;
    const request = on.request();
    await matchJob(on, { request });
    const burner = await ethers.deployContract("IdentityGasBurner");
    await on.identity.connect(requester).changeOwner(requester, burner);
    const terms = termsFor(on, request, on.offer());
    await time.increase(10);
    await market.connect(nodeKey).submit(terms, claim, "0x");
    await time.increase(601);
    await market.connect(stranger).finalize(terms, claim);
    await market.connect(operator).withdraw(operator, token, claim.charge, operator);
    await expectNothingLost(on);
  });
});

describe("a verifier that is hostile", () => {
  it("is asked with its whole cap or not at all: nobody makes it silent by bringing little gas", async () => {
    const on = await running(await loadFixture(verifiedMarket));
    const { market, verifier, verifierAddress, nodeKey, terms, job } = on;
    await verifier.set(Manner.Answers, Verdict.Fails);
    const submit = (gasLimit: bigint) => market.connect(nodeKey).submit(terms, CLAIM, "0x", { gasLimit });
    await expect(submit(250_000n)).to.be.revertedWithCustomError(on.market, "GasTooLow").withArgs(324_761n);
    await expect(submit(420_000n))
      .to.be.revertedWithCustomError(market, "ResultRefused")
      .withArgs(job, 0, verifierAddress);
    // Whatever gas the node brings, a result that fails never gets to wait for the arbiter's silence.
    for (let gasLimit = 100_000n; gasLimit < 440_000n; gasLimit += 5000n) {
      await expect(market.connect(nodeKey).submit.staticCall(terms, CLAIM, "0x", { gasLimit })).to.be.revert(ethers);
    }
  });

  it("nor when the job is finalized: what stands cannot be made to look undecided", async () => {
    const on = await loadFixture(judgedResult);
    const { market, token, verifier, stranger, operator, terms, claim: judged, submittedAt, job } = on;
    await verifier.set(Manner.Answers, Verdict.Stands);
    await time.increaseTo(submittedAt + CHALLENGE + ARBITER_WINDOW + 1);
    const finalize = (gasLimit: bigint) => market.connect(stranger).finalize(terms, judged, { gasLimit });
    await expect(finalize(250_000n)).to.be.revertedWithCustomError(market, "GasTooLow").withArgs(324_761n);
    for (let gasLimit = 60_000n; gasLimit < 440_000n; gasLimit += 10_000n) {
      await finalize(gasLimit).catch(() => {});
      const { state } = await market.replicaOf(job, 0);
      expect(state).to.be.oneOf([State.Judging, State.Settled]);
    }
    expect(await market.balanceOf(operator, token)).to.equal(judged.charge);
    await expectNothingLost(on);
  });

  for (const [name, manner] of Object.entries(Manner)) {
    it(`keeps no money and no stake for ever, whatever it does (${name})`, async () => {
      const on = await loadFixture(judgedResult);
      const { market, staking, token, verifier, requester, operator, terms, claim: judged, submittedAt } = on;
      await verifier.set(manner, 99n);
      await at(submittedAt + CHALLENGE + ARBITER_WINDOW + 1);
      await market.finalize(terms, judged);
      await market.connect(requester).withdraw(requester, token, 100n * DOLLAR, requester);
      await staking.connect(operator).requestExit(operator, token, 10n * DOLLAR);
      await expectNothingLost(on);
    });
  }
});

describe("an arbiter that is a contract", () => {
  /** A disputed result whose arbiter burns all gas when it is asked anything. */
  async function disputedByContract() {
    const contract = await ethers.deployContract("HostileArbiter");
    const arbiter = (await contract.getAddress()) as Address;
    const on = await running(await judgedBy(await readyMarket(), arbiter));
    await at(on.matchedAt + 50);
    await on.market.connect(on.nodeKey).submit(on.terms, CLAIM, "0x");
    await on.market.connect(on.requester).dispute(on.terms, CLAIM);
    return { ...on, contract, arbiterAddress: arbiter, disputedAt: await time.latest() };
  }

  it("is never called: when it does not answer, anybody ends the dispute", async () => {
    const on = await loadFixture(disputedByContract);
    const { market, token, requester, operator, stranger, terms, disputedAt } = on;
    await at(disputedAt + ARBITER_WINDOW + 1);
    await market.connect(stranger).finalize(terms, CLAIM, { gasLimit: 200_000n });
    expect(await market.balanceOf(operator, token)).to.equal(CLAIM.charge);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - CLAIM.charge);
    await expectNothingLost(on, 0n, [on.arbiterAddress]);
  });

  it("rules once, and gets its fee once, however often it tries in one transaction", async () => {
    const on = await loadFixture(disputedByContract);
    const { market, staking, token, requester, operator, terms, contract, arbiterAddress } = on;
    const rule = (award: bigint) => market.interface.encodeFunctionData("rule", [terms, CLAIM, award]);
    const finalize = market.interface.encodeFunctionData("finalize", [terms, CLAIM]);
    const calls = [rule(801n), finalize, rule(500n), rule(500n), rule(0n), finalize];
    await expect(contract.getFunction("tryAll")(market, calls))
      .to.emit(contract, "Tried")
      .withArgs([false, false, true, false, false, false]);
    expect(await market.balanceOf(operator, token)).to.equal(500n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 500n);
    expect(await staking.owedTo(arbiterAddress, token)).to.equal(FEE);
    await expectNothingLost(on, 0n, [arbiterAddress]);
  });

  it("rules on nothing but the disputes of orders that name it", async () => {
    const on = await running(await loadFixture(arbitratedMarket));
    const { market, nodeKey, requester, terms, job } = on;
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    await market.connect(requester).dispute(terms, CLAIM);
    const other = await ethers.deployContract("HostileArbiter");
    const rule = market.interface.encodeFunctionData("rule", [terms, CLAIM, 0n]);
    const named = { ...terms, job: { ...terms.job, arbiter: await other.getAddress() } };
    const forged = market.interface.encodeFunctionData("rule", [named, CLAIM, 0n]);
    await expect(other.getFunction("tryAll")(market, [rule, forged]))
      .to.emit(other, "Tried")
      .withArgs([false, false]);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Disputed);
    await expectNothingLost(on, DEPOSIT + FEE);
  });
});
