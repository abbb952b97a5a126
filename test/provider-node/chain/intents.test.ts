import type { FollowedBlock, RawLog } from "@berth/chain";
import {
  type Address,
  type Deployment,
  didAttributes,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  termsOf,
  ZERO_BYTES32,
} from "@berth/protocol";
import { expect } from "chai";
import { type Abi, type AbiEvent, encodeAbiParameters, encodeEventTopics, stringToHex } from "viem";
import { intentsOf } from "../../../provider-node/src/chain/intents.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const account = (digit: string): Address => `0x${digit.repeat(40)}`;
const deployment: Deployment = {
  ...{ chainId: 31337, fromBlock: 0, tokens: [] },
  ...{ identity: account("b"), staking: account("c"), market: account("d") },
};
const me = { operator: anOffer().operator, index: 3 };
const termsFor = (replica: number, index = me.index, operator = me.operator) =>
  termsOf(deployment, aRequest({ replicas: 2 }), anOffer({ operator, index }), replica);
const { job } = termsFor(0);
const { jobId } = job;

/** A log as the contract at `address` would write it. */
function log(address: Address, abi: Abi, eventName: string, args: Record<string, unknown>, logIndex: number): RawLog {
  const event = abi.find((item): item is AbiEvent => item.type === "event" && item.name === eventName);
  if (event === undefined) throw new Error(`no event ${eventName}`);
  const plain = event.inputs.filter(({ indexed }) => indexed !== true);
  return {
    ...{
      address,
      logIndex,
      blockNumber: 7,
      blockHash: ZERO_BYTES32,
      transactionHash: ZERO_BYTES32,
      transactionIndex: 0,
    },
    topics: encodeEventTopics({ abi, eventName, args }) as Hex[],
    data: encodeAbiParameters(
      plain,
      plain.map(({ name }) => args[name ?? ""]),
    ),
  };
}

const inMarket = (name: string, args: Record<string, unknown>, at: number) =>
  log(deployment.market, jobMarketAbi as Abi, name, args, at);
const inRegistry = (name: string, args: Record<string, unknown>, at: number) =>
  log(deployment.identity, identityRegistryAbi as Abi, name, args, at);
const block = (logs: RawLog[]): FollowedBlock => ({
  ...{ number: 7, hash: ZERO_BYTES32, parentHash: ZERO_BYTES32, timestamp: 1234, logs },
});

const jobMatched = (at: number) =>
  inMarket(
    "JobMatched",
    { jobId, requester: job.requester, matcher: account("9"), spent: 1n, released: 0n, tip: 0n, job },
    at,
  );
const replicaMatched = (replica: number, index: number, at: number, operator = me.operator) => {
  const { assignment } = termsFor(replica, index, operator);
  return inMarket("ReplicaMatched", { jobId, operator, assignment }, at);
};

describe("intentsOf", () => {
  it("takes its own replicas of a match, with the terms in full", () => {
    const logs = [
      jobMatched(0),
      replicaMatched(0, 3, 1),
      replicaMatched(1, 4, 2),
      replicaMatched(1, 3, 3, account("8")),
    ];
    const [closed, matched, ...more] = intentsOf(block(logs), me, deployment);
    expect(closed).to.deep.equal({ at: 0, kind: "closed", jobId });
    expect(more).to.deep.equal([]);
    if (matched?.kind !== "matched") throw new Error("no match");
    expect(matched.job).to.deep.equal({ jobId, replica: 0, terms: termsFor(0), matchedAt: 1234 });
  });

  it("believes each contract only in its own matters", () => {
    const forged = { ...replicaMatched(0, 3, 1), address: deployment.identity };
    expect(intentsOf(block([{ ...jobMatched(0), address: account("e") }, forged]), me, deployment)).to.deep.equal([]);
  });

  it("notes what becomes of replicas of its operator, and of nobody else's", () => {
    const claim = { resultHash: jobId, resultBytes: 1n, charge: 1n };
    const events: [string, Record<string, unknown>, string][] = [
      ["ResultSubmitted", { judging: false, claim }, "submitted"],
      ["ResultSubmitted", { judging: true, claim }, "judging"],
      ["ReplicaSettled", { charge: 1n, refund: 0n }, "settled"],
      ["ReplicaRefunded", { refund: 1n, slashed: 0n, reason: 0 }, "refunded"],
    ];
    for (const [name, args, kind] of events) {
      const log = (operator: Address, at: number) => inMarket(name, { jobId, operator, replica: 1, ...args }, at);
      expect(intentsOf(block([log(account("8"), 0), log(me.operator, 1)]), me, deployment)).to.deep.equal([
        { at: 1, kind, jobId, replica: 1 },
      ]);
    }
  });

  it("notes disputes, which name no operator", () => {
    const dispute = inMarket("ReplicaDisputed", { jobId, requester: job.requester, replica: 1, fee: 3n }, 4);
    expect(intentsOf(block([dispute]), me, deployment)).to.deep.equal([{ at: 4, kind: "disputed", jobId, replica: 1 }]);
  });

  it("knows a posted request in full, and that it was taken", () => {
    const request = aRequest();
    const posted = inMarket("RequestPosted", { jobId, requester: request.requester, request }, 0);
    const cancelled = inMarket("RequestCancelled", { jobId, released: 1n }, 1);
    expect(intentsOf(block([posted, cancelled]), me, deployment)).to.deep.equal([
      { at: 0, kind: "posted", jobId, request },
      { at: 1, kind: "closed", jobId },
    ]);
  });

  it("reads nodes and content gateways from the registry, in order of the logs", () => {
    const key = account("a");
    const name = stringToHex(didAttributes.contentUrl, { size: 32 });
    const attribute = (url: string, at: number) =>
      inRegistry(
        "DIDAttributeChanged",
        { identity: key, name, value: stringToHex(url), validTo: 2n ** 255n, previousChange: 0n },
        at,
      );
    const node = {
      operator: me.operator,
      index: 3,
      key,
      wgKey: jobId,
      prefix: 9n,
      validTo: 50,
      keyVersion: 2,
      wgEndpoint: "a:1",
      contentUrl: "http://a",
    };
    const logs = [
      inRegistry("NodeRevoked", { operator: me.operator, index: 3 }, 2),
      inRegistry("NodePublished", { ...node, profileCid: "" }, 1),
      attribute("http://x", 0),
    ];
    expect(intentsOf(block(logs), me, deployment)).to.deep.equal([
      { at: 0, kind: "content-url", identity: key, url: "http://x", validTo: Number.MAX_SAFE_INTEGER },
      { at: 1, kind: "node", operator: me.operator, index: 3, node: { ...node, prefix: "9" } },
      { at: 2, kind: "node", operator: me.operator, index: 3, node: null },
    ]);
  });
});
