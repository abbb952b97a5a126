import { type Hex, jobIdOf, jobMarketAbi, operatorTree, ZERO_BYTES32 } from "@berth/protocol";
import { expect } from "chai";
import { encodeAbiParameters, encodeFunctionData, erc20Abi, getAbiItem, getAddress } from "viem";
import { ordersIn } from "../../../client/src/actions/match-orders.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const domain = { chainId: 31337, market: `0x${"9".repeat(40)}` } as const;
const request = aRequest();
const jobId = jobIdOf(domain, request);
const offers = [anOffer(), anOffer({ operator: `0x${"b".repeat(40)}` })];
const [first] = offers;

describe("ordersIn", () => {
  const matchArgs = (of: typeof request) => [of, "0x12", "0x", offers, ["0x34", "0x56"], []] as const;
  const call = (functionName: string, args: readonly unknown[]): Hex =>
    encodeFunctionData({ abi: jobMarketAbi, functionName, args } as never);

  it("finds the orders of a match, in lower case", () => {
    const shouting = { ...request, requester: getAddress(request.requester), token: getAddress(request.token) };
    expect(ordersIn(domain, call("matchJob", matchArgs(shouting)), jobId)).to.deep.equal({ request, offers });
  });

  it("finds the orders of a posted request that its node took itself", () => {
    const proof = operatorTree([request.requester, request.payer]).proofOf(request.payer);
    expect(ordersIn(domain, call("accept", [request, first, proof]), jobId)).to.deep.equal({
      request,
      offers: [first],
    });
  });

  it("finds the one of many that is this job, whatever stands beside it", () => {
    const { inputs } = getAbiItem({ abi: jobMarketAbi, name: "matchJob" });
    const items = [aRequest({ nonce: ZERO_BYTES32 }), request].map((of) => encodeAbiParameters(inputs, matchArgs(of)));
    const many = call("matchMany", [["0x", "0xdead", ...items], 1_000_000n]);
    expect(ordersIn(domain, many, jobId)).to.deep.equal({ request, offers });
  });

  it("believes nothing else: another job, another function, another contract", () => {
    expect(ordersIn(domain, call("matchJob", matchArgs({ ...request, bond: 0n })), jobId)).to.equal(undefined);
    expect(ordersIn(domain, call("cancel", [request]), jobId)).to.equal(undefined);
    const transfer = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [request.token, 1n] });
    for (const data of [transfer, "0x", "0x12345678"] as const)
      expect(ordersIn(domain, data, jobId)).to.equal(undefined);
  });
});
