import { MarketError, MODE, type Request, requestFlaw, requireSound, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { aRequest } from "../support/orders.ts";
import { soundVectors } from "../support/sound-vectors.ts";

const fieldOf = (replaced: Partial<Request>) => requestFlaw(aRequest(replaced))?.field;

describe("requestFlaw", () => {
  it("finds nothing wrong with a sound request", () => expect(requestFlaw(aRequest())).to.equal(undefined));

  for (const { rule, field, inside, outside } of soundVectors) {
    it(`takes and refuses ${field} to the unit: ${rule}`, () => {
      expect(fieldOf(inside)).to.equal(undefined);
      expect(fieldOf(outside)).to.equal(field);
    });
  }

  it("names the rule that the contract asks for first", () => {
    const broken = { requester: ZERO_ADDRESS, replicas: 0, bounty: 1001n, acceptWindow: 301 };
    expect(fieldOf(broken)).to.equal("requester");
    expect(fieldOf({ ...broken, requester: aRequest().requester })).to.equal("replicas");
    expect(fieldOf({ bounty: 1001n, acceptWindow: 301 })).to.equal("bounty");
    const unheard = { arbiter: aRequest().requester, challengeWindow: 0, arbiterWindow: 0, arbiterFee: 1001n };
    expect(fieldOf(unheard)).to.equal("challengeWindow");
    expect(fieldOf({ ...unheard, mode: MODE.lease, heartbeatSeconds: 60 })).to.equal("arbiter");
  });
});

describe("requireSound", () => {
  it("lets a sound request pass", () => requireSound(aRequest()));

  it("says which field breaks which rule, what it is and what to do", () => {
    let thrown: unknown;
    try {
      requireSound(aRequest({ bounty: 101n }));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).to.be.instanceOf(MarketError);
    expect(thrown).to.include({
      code: "REQUEST_UNSOUND",
      message: "The market would refuse this request: `bounty` must not be above a tenth of `bond`; it is 101.",
      hint: "Correct `bounty`. A request that was signed already must be signed again.",
      retryable: false,
    });
  });
});
