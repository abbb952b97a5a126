import type { FollowedBlock, RawLog } from "@berth/chain";
import {
  type Address,
  type Deployment,
  didAttributes,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
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
const jobId: Hex = `0x${"12".repeat(32)}`;
const me = { operator: anOffer().operator, index: 3 };

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

const jobMatched = (at: number) => {
  const request = aRequest({ replicas: 2 });
  return inMarket(
    "JobMatched",
    { jobId, requester: request.requester, matcher: account("9"), spent: 1n, released: 0n, request },
    at,
  );
};
const replicaMatched = (replica: number, index: number, at: number, operator = me.operator) =>
  inMarket(
    "ReplicaMatched",
    { jobId, operator, replica, offerHash: jobId, deposit: 5n, offer: anOffer({ operator, index }) },
    at,
  );

describe("intentsOf", () => {
  it("takes its own replicas of a match, with the orders in full", () => {
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
    expect(matched.job.request).to.deep.equal(aRequest({ replicas: 2 }));
    expect(matched.job.offer).to.deep.equal(anOffer({ index: 3 }));
    expect(matched.job).to.deep.include({ jobId, replica: 0, matchedAt: 1234, deposit: 5n });
  });

  it("believes each contract only in its own matters", () => {
    const forged = { ...replicaMatched(0, 3, 1), address: deployment.identity };
    expect(intentsOf(block([{ ...jobMatched(0), address: account("e") }, forged]), me, deployment)).to.deep.equal([]);
  });

  it("notes how replicas of its operator end, and nobody else's", () => {
    const ended = (operator: Address, at: number) =>
      inMarket("ReplicaSettled", { jobId, operator, replica: 1, charge: 1n, refund: 0n }, at);
    expect(intentsOf(block([ended(account("8"), 0), ended(me.operator, 1)]), me, deployment)).to.deep.equal([
      { at: 1, kind: "settled", jobId, replica: 1 },
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
      inRegistry("NodePublished", node, 1),
      attribute("http://x", 0),
    ];
    expect(intentsOf(block(logs), me, deployment)).to.deep.equal([
      { at: 0, kind: "content-url", identity: key, url: "http://x", validTo: Number.MAX_SAFE_INTEGER },
      { at: 1, kind: "node", operator: me.operator, index: 3, node: { ...node, prefix: "9" } },
      { at: 2, kind: "node", operator: me.operator, index: 3, node: null },
    ]);
  });
});
