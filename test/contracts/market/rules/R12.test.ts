// R12, evidence of one job is none of another. What a quote must say is in test/contracts/attestation, what an attested key may
// sign in test/contracts/verifiers.
import { type Hex, jobNonce, type UnixSeconds } from "@berth/protocol";
import { expect } from "chai";
import { ethers, loadFixture } from "../../support/actors.ts";
import { jobId, offerHash, readyMarket, State, signOffer, signRequest } from "../../support/market.ts";
import { hex, matchAttested, proofOf, teeMarket } from "../../verifiers/support.ts";

describe("R12: evidence", () => {
  it("is fresh for each of two jobs of one offer in one second: no quote serves both", async () => {
    const on = await loadFixture(readyMarket);
    const harness = await ethers.deployContract("ReportDataHarness");
    const requests = [on.request({ nonce: hex("one") }), on.request({ nonce: hex("two") })];
    const [offer, signature] = [on.offer(), await signOffer(on, on.nodeKey, on.offer())];
    const items = await Promise.all(
      requests.map(async (request) => {
        const order = [request, await signRequest(on, on.requester, request), "0x", [offer], [signature], []];
        return ethers.dataSlice(on.market.interface.encodeFunctionData("matchJob", order), 4);
      }),
    );
    await on.market.connect(on.matcher).matchMany(items, 1_000_000n);
    const nonces = new Set<Hex>();
    const times = new Set<bigint>();
    for (const request of requests) {
      const { matchedAt, state } = await on.market.replicaOf(jobId(on, request), 0);
      expect(state).to.equal(State.Active);
      const fields = {
        offerHash: offerHash(on, offer),
        matchedAt: Number(matchedAt) as UnixSeconds,
        jobId: jobId(on, request),
      };
      const nonce = jobNonce(fields);
      expect(await harness.getFunction("jobNonce")(fields.offerHash, matchedAt, fields.jobId)).to.equal(nonce);
      nonces.add(nonce);
      times.add(matchedAt);
    }
    expect(times.size).to.equal(1);
    expect(nonces.size).to.equal(2);
  });

  it("of a result serves no other job of the same node, requester and price", async () => {
    const on = await loadFixture(teeMarket);
    const first = await matchAttested(on);
    const second = await matchAttested(on, { nonce: hex("second") });
    const proof = await proofOf(first);
    await expect(on.market.connect(on.nodeKey).submit(second.terms, first.claim, proof))
      .to.be.revertedWithCustomError(on.market, "ResultRefused")
      .withArgs(second.job, 0, on.addresses.tee);
    await on.market.connect(on.nodeKey).submit(first.terms, first.claim, proof);
    expect((await on.market.replicaOf(first.job, 0)).state).to.equal(State.Settled);
    expect((await on.market.replicaOf(second.job, 0)).state).to.equal(State.Active);
  });
});
