import { type Claim, type Hex, type TeePolicy, teePolicyBytes, teePolicyHash, teeProof } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import { addressOf, DAY, DOLLAR, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";
import { type AttestedRun, attest, hex, matchAttested, proofOf, signResult, teeMarket, Verdict } from "./support.ts";

const attestedRun = async () => matchAttested(await teeMarket());
const judge = (on: AttestedRun, proof: string, claim: Claim = on.claim) => on.tee.judge(on.terms, claim, proof);

describe("TeeVerifier#judge", () => {
  it("lets a result of an attested key be paid in the transaction that submits it", async () => {
    const on = await loadFixture(attestedRun);
    expect(await judge(on, String(await proofOf(on)))).to.equal(Verdict.Stands);
    await on.market.connect(on.nodeKey).submit(on.terms, on.claim, await proofOf(on));
    expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Settled);
    expect(await on.market.balanceOf(on.operator, on.token)).to.equal(5n);
    expect(await on.staking.stakeOf(on.operator, on.token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("leaves a window to dispute where the orders have one", async () => {
    const on = await matchAttested(await loadFixture(teeMarket), { challengeWindow: 600 });
    await on.market.connect(on.nodeKey).submit(on.terms, on.claim, await proofOf(on));
    expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Submitted);
  });

  it("refuses a result without a proof, and takes one afterwards", async () => {
    const on = await loadFixture(attestedRun);
    await expect(on.market.connect(on.nodeKey).submit(on.terms, on.claim, "0x"))
      .to.be.revertedWithCustomError(on.market, "ResultRefused")
      .withArgs(on.job, 0, on.addresses.tee);
    await on.market.connect(on.nodeKey).submit(on.terms, on.claim, await proofOf(on));
    expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Settled);
  });

  it("takes the signature for this job, replica and claim only, by an attested key only", async () => {
    const on = await loadFixture(attestedRun);
    const signed = async (...by: Parameters<typeof signResult>) =>
      judge(on, teeProof(on.policy, (await signResult(...by)) as Hex));
    expect(await signed(on)).to.equal(Verdict.Stands);
    expect(await signed(on, { ...on.claim, charge: 6n })).to.equal(Verdict.Fails);
    expect(await signed(on, { ...on.claim, resultHash: hex("other") })).to.equal(Verdict.Fails);
    expect(await signed(on, on.claim, on.attestedKey, 1)).to.equal(Verdict.Fails);
    expect(await signed({ ...on, job: hex("other job") as typeof on.job })).to.equal(Verdict.Fails);
    expect(await signed({ ...on, addresses: { ...on.addresses, tee: on.addresses.market } })).to.equal(Verdict.Fails);
    expect(await signed(on, on.claim, on.nodeKey)).to.equal(Verdict.Fails);
    expect(await judge(on, String(await proofOf(on)), { ...on.claim, charge: 6n })).to.equal(Verdict.Fails);
  });

  it("refuses a key that expired, was revoked, or whose verifier, measurement or platform was", async () => {
    const revocations: Record<string, (on: AttestedRun) => Promise<unknown>> = {
      expired: () => time.increase(DAY + 1),
      key: (on) => on.registry.connect(on.guardian).revokeKey(on.attestedKey.address),
      verifier: (on) => on.registry.connect(on.guardian).revokeVerifier(on.quotes),
      measurement: (on) => on.registry.connect(on.guardian).revokeMeasurement(on.measurement),
      platform: (on) => on.registry.connect(on.guardian).revokePlatform(hex("platform")),
    };
    for (const [what, revoke] of Object.entries(revocations)) {
      const on = await loadFixture(attestedRun);
      const proof = String(await proofOf(on));
      expect(await judge(on, proof)).to.equal(Verdict.Stands);
      await revoke(on);
      expect(await judge(on, proof), what).to.equal(Verdict.Fails);
    }
  });

  it("asks for the measurement, the tier and the quote verifier that the policy names", async () => {
    const market = await loadFixture(teeMarket);
    const { measurements, quoteVerifiers } = market.policy;
    const stranger = addressOf(market.stranger);
    const policies: [Partial<TeePolicy>, bigint][] = [
      [{}, Verdict.Stands],
      [{ minTier: 1 }, Verdict.Stands],
      [{ minTier: 3 }, Verdict.Fails],
      [{ measurements: [hex("other"), ...measurements] }, Verdict.Stands],
      [{ measurements: [hex("other")] }, Verdict.Fails],
      [{ measurements: [] }, Verdict.Fails],
      [{ quoteVerifiers: [stranger, ...quoteVerifiers] }, Verdict.Stands],
      [{ quoteVerifiers: [stranger] }, Verdict.Fails],
      [{ quoteVerifiers: [] }, Verdict.Fails],
    ];
    for (const [replaced, verdict] of policies) {
      const policy = { ...market.policy, ...replaced };
      const on = await matchAttested(await loadFixture(teeMarket), {}, policy);
      expect(await judge(on, String(await proofOf(on, policy))), JSON.stringify(replaced)).to.equal(verdict);
    }
  });

  it("refuses a policy that the orders do not name, however generous", async () => {
    const on = await loadFixture(attestedRun);
    for (const minTier of [1, 3]) {
      expect(await judge(on, String(await proofOf(on, { ...on.policy, minTier })))).to.equal(Verdict.Fails);
    }
  });

  it("never takes a key that nobody attested for one that a policy of zeros allows", async () => {
    const market = await loadFixture(teeMarket);
    const policy = { minTier: 0, quoteVerifiers: [ethers.ZeroAddress as Hex], measurements: [ethers.ZeroHash as Hex] };
    const on = await matchAttested(market, {}, policy);
    const signature = (await signResult(on, on.claim, on.stranger)) as Hex;
    expect(await judge(on, teeProof(policy, signature))).to.equal(Verdict.Fails);
  });

  it("fails a policy that both signed and nobody can read", async () => {
    const market = await loadFixture(teeMarket);
    const whole = teePolicyBytes(market.policy);
    const unreadable = [
      "0x0201", // a verifier short
      `${whole}00`, // a byte of a measurement
      ethers.dataSlice(whole, 0, ethers.dataLength(whole) - 1),
      "0x02ff",
      `0x02${"01"}${"22".repeat(19)}`,
      `${whole}${"33".repeat(32 * 130)}`, // too long
    ];
    for (const bytes of unreadable) {
      const verifierData = ethers.keccak256(bytes) as Hex;
      const on = await matchAttested(await loadFixture(teeMarket), { verifierData });
      const offers = ethers.concat([await signResult(on), bytes]);
      expect(await judge(on, offers), bytes.slice(0, 12)).to.equal(Verdict.Fails);
    }
  });

  it("fails whatever else a node sends", async () => {
    const on = await loadFixture(attestedRun);
    const whole = String(await proofOf(on));
    const hostile = [
      ...[0, 1, 64, 65, 66, 67, 86].map((length) => ethers.dataSlice(whole, 0, length)),
      `${whole}00`,
      ethers.concat([ethers.zeroPadBytes("0x", 65), teePolicyBytes(on.policy)]),
      ethers.concat([`0x${"ff".repeat(65)}`, teePolicyBytes(on.policy)]),
    ];
    for (const proof of hostile) expect(await judge(on, proof), proof.slice(0, 20)).to.equal(Verdict.Fails);

    const anyBytes = fc.uint8Array({ maxLength: 200 }).map((bytes) => ethers.hexlify(bytes));
    const flipped = fc.nat(ethers.dataLength(whole) * 8 - 1).map((bit) => {
      const bytes = ethers.getBytes(whole);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return ethers.hexlify(bytes);
    });
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyBytes, flipped), async (proof) => {
        expect(await judge(on, proof)).to.equal(Verdict.Fails);
      }),
      { numRuns: 100 },
    );
  });

  it("has an answer inside the market's gas cap for the longest of proofs", async () => {
    const on = await loadFixture(attestedRun);
    for (const bytes of [4096 + 65, 60_000]) {
      await expect(on.market.connect(on.nodeKey).submit(on.terms, on.claim, `0x${"ff".repeat(bytes)}`))
        .to.be.revertedWithCustomError(on.market, "ResultRefused")
        .withArgs(on.job, 0, on.addresses.tee);
    }
  });

  it("fails when it is asked again without a proof", async () => {
    const on = await loadFixture(attestedRun);
    expect(await judge(on, "0x")).to.equal(Verdict.Fails);
  });

  it("takes a result in the last second of the key", async () => {
    const on = await loadFixture(teeMarket);
    const validTo = (await time.latest()) + 100;
    await attest(on, { validTo });
    const run = await matchAttested(on);
    await at(validTo);
    await on.market.connect(on.nodeKey).submit(run.terms, run.claim, await proofOf(run));
    expect((await on.market.replicaOf(run.job, 0)).state).to.equal(State.Settled);
  });
});

describe("TeeVerifier#hashResult", () => {
  it("gives the hash that programs sign, and names its registry and limit", async () => {
    const on = await loadFixture(attestedRun);
    const hash = await on.tee.hashResult(on.job, 0, on.claim);
    expect(ethers.recoverAddress(hash, await signResult(on))).to.equal(on.attestedKey.address);
    expect(await on.tee.registry()).to.equal(await on.registry.getAddress());
    expect(await on.tee.MAX_POLICY_BYTES()).to.equal(4096n);
    expect(teePolicyHash(on.policy)).to.equal(ethers.keccak256(teePolicyBytes(on.policy)));
  });
});
