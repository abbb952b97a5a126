import { MODE, type Request, requestFlaw, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { soundVectors } from "../../support/sound-vectors.ts";
import { ethers, loadFixture } from "../support/actors.ts";
import { addressOf, DAY, jobId, type Ready, readyMarket } from "../support/market.ts";

/** What the market names when it refuses `request` as unsound; undefined when it takes it. Nothing is stored. */
async function flawOnChain({ market, ...on }: Ready, request: Request): Promise<string | undefined> {
  const { data } = await market.getFunction("post").populateTransaction(request, "0x", "0x");
  const call = { to: on.addresses.market, from: request.requester, data };
  const answer = await ethers.provider
    .call(call)
    .catch((error: { data?: string }) => error.data ?? Promise.reject(error));
  const refusal = market.interface.parseError(answer);
  if (refusal?.name === "BadRequest") {
    expect(refusal.args[0]).to.equal(jobId({ market, ...on }, request));
    return ethers.decodeBytes32String(refusal.args[1]);
  }
  // Anything else than the id of the new job would be a refusal that hides the answer.
  expect(answer).to.equal(jobId({ market, ...on }, request));
  return undefined;
}

const year = 366 * DAY;
/** Values beside which rules change their minds. */
const seconds = fc.constantFrom(0, 1, 30, 59, 60, 61, 300, 301, year, year + 1, 2 ** 32 - 1);
const amount = fc.constantFrom(0n, 1n, 9n, 10n, 99n, 100n, 101n, 999n, 1000n, 1001n, 10_000_001n);

/** Sound orders of both modes in which a few members are replaced, so that some are sound and some are not. */
function anyOrder(on: Ready): fc.Arbitrary<Request> {
  const judge = fc.constantFrom(ZERO_ADDRESS, addressOf(on.stranger));
  const members: { [M in keyof Request]?: fc.Arbitrary<Request[M]> } = {
    requester: fc.constant(ZERO_ADDRESS),
    replicas: fc.constantFrom(0, 1, 2, 65_535),
    maxPrice: amount,
    matcherTip: amount,
    compensationBps: fc.constantFrom(0, 999, 1000, 1001, 65_535),
    bond: amount,
    bounty: amount,
    maxSeconds: seconds,
    acceptWindow: seconds,
    submitWindow: seconds,
    challengeWindow: seconds,
    heartbeatSeconds: seconds,
    noticeSeconds: seconds,
    verifier: judge,
    arbiter: judge,
    arbiterFee: amount,
    arbiterWindow: seconds,
  };
  const replacement = fc.oneof(
    ...Object.entries(members).map(([name, value]) => (value as fc.Arbitrary<unknown>).map((v) => ({ [name]: v }))),
  );
  const mode = fc.constantFrom({ mode: MODE.batch }, { mode: MODE.lease, heartbeatSeconds: 60, noticeSeconds: 60 });
  return fc.tuple(mode, fc.array(replacement, { maxLength: 4 })).map(([of, replaced]) => {
    const request = on.request(Object.assign({}, of, ...replaced));
    return { ...request, payer: request.requester };
  });
}

describe("Fit#requireSound", () => {
  for (const { rule, field, inside, outside } of soundVectors) {
    it(`takes and refuses ${field} to the unit: ${rule}`, async () => {
      const on = await loadFixture(readyMarket);
      expect(await flawOnChain(on, on.request(inside))).to.equal(undefined);
      expect(await flawOnChain(on, on.request(outside))).to.equal(field);
    });
  }

  it("names of any request the same field as TypeScript, or none", async () => {
    const on = await loadFixture(readyMarket);
    const seen = new Set<string | undefined>();
    await fc.assert(
      fc.asyncProperty(anyOrder(on), async (request) => {
        const flaw = await flawOnChain(on, request);
        seen.add(flaw);
        expect(requestFlaw(request)?.field).to.equal(flaw);
      }),
      { numRuns: 400 },
    );
    expect(seen).to.include(undefined);
  });
});
