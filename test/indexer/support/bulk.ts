import {
  type Address,
  type Hex,
  jobMarketAbi,
  type NodeLimits,
  type Offer,
  type Request,
  type Terms,
  testTokenAbi,
} from "@berth/protocol";
import { encodeFunctionData, keccak256, stringToBytes } from "viem";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aClaim, type TestMarket, type TestNode } from "./market.ts";

const NODES = 8;
const REQUESTERS = 16;
/** Jobs that go through the market side by side; each of their four deeds is one block. */
const JOBS_PER_BATCH = 40;
const GAS = "0x16e360"; // 1,500,000
const CAPACITY = { cpuMilli: 4e9, memoryMiB: 4e9, diskMiB: 4e9 };
const MANY: Partial<NodeLimits> = { maxActive: 60_000, ...CAPACITY };

/** Jobs that were posted, taken by a node, done and paid, 7 events each, as fast as the chain can run them. */
export interface Bulk {
  /** Runs at least `jobs` whole jobs. */
  run(jobs: number): Promise<void>;
  /** Posts one request, in a block of its own unless mining is off; returns its job's nonce. */
  post(): Promise<Request>;
}

export async function startBulk(market: TestMarket): Promise<Bulk> {
  const { anvil, deployment, token } = market;
  const nodes: TestNode[] = [];
  for (let i = 0; i < NODES; i++) nodes.push(await market.node(`bulk node ${i}`));
  for (const node of nodes) await market.setLimits(node, MANY);
  const requesters: Address[] = [];
  for (let i = 0; i < REQUESTERS; i++) requesters.push((await market.account(`bulk ${i}`)).address);
  for (const from of requesters) await market.deposit(from, 10n ** 15n);
  for (const { operator } of nodes) {
    await market.send(operator.address, token, testTokenAbi, "mint", [operator.address, 10n ** 15n]);
    await market.stake(operator.address, 10n ** 12n);
  }
  const from = [...requesters, ...nodes.flatMap(({ operator, key }) => [operator.address, key.address])];
  for (const account of from) await anvil.call("anvil_setBalance", [account, "0xd3c21bcecceda1000000"]);
  await anvil.call("evm_setBlockGasLimit", ["0x3b9aca000"]);
  let nonce = 0;

  const newRequest = (now: number): Request => {
    nonce += 1;
    const requester = requesters[nonce % REQUESTERS]?.toLowerCase() as Address;
    return aRequest({
      requester,
      payer: requester,
      token,
      openUntil: now + 86_400,
      nonce: keccak256(stringToBytes(`bulk ${nonce}`)),
      specHash: keccak256(stringToBytes(`spec ${nonce}`)),
    });
  };
  const newOffer = (now: number, { operator, index }: TestNode): Offer =>
    anOffer({
      ...{ operator: operator.address.toLowerCase() as Address, index, token, expiresAt: now + 3600 },
      ...CAPACITY,
    });

  /** All in one block, in no order across accounts. Throws unless every one succeeds. */
  async function block(calls: readonly { from: Address; name: string; args: readonly unknown[] }[]): Promise<void> {
    const body = calls.map(({ from: sender, name, args }, id) => ({
      jsonrpc: "2.0",
      id,
      method: "eth_sendTransaction",
      params: [{ from: sender, to: deployment.market, gas: GAS, data: dataOf(name, args) }],
    }));
    const response = await fetch(anvil.url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const answers = (await response.json()) as { result?: Hex; error?: { message: string } }[];
    for (const { error } of answers) if (error !== undefined) throw new Error(error.message);
    await anvil.call("evm_mine");
    const receipts = await anvil.call("eth_getBlockReceipts", ["latest"]);
    const failed = receipts.find((receipt: { status: Hex }) => receipt.status !== "0x1");
    if (receipts.length !== calls.length || failed !== undefined) {
      throw new Error(`${receipts.length} of ${calls.length} mined, and one failed: ${failed?.transactionHash}`);
    }
  }

  return {
    async run(jobs) {
      await anvil.call("evm_setAutomine", [false]);
      for (let done = 0; done < jobs; done += JOBS_PER_BATCH) {
        const now = await market.now();
        const batch = Array.from({ length: JOBS_PER_BATCH }, (_, i) => {
          const node = nodes[i % NODES] as TestNode;
          const request = newRequest(now);
          const offer = newOffer(now, node);
          const terms: Terms = market.terms(request, offer);
          const claim = aClaim({ charge: 5n, resultHash: keccak256(request.nonce) });
          return { node, request, offer, terms, claim };
        });
        await block(batch.map(({ request }) => call(request.requester, "post", [request, "0x", "0x"])));
        await block(batch.map(({ node, request, offer }) => call(node.key.address, "accept", [request, offer, []])));
        await block(batch.map(({ node, terms, claim }) => call(node.operator.address, "submit", [terms, claim, "0x"])));
        await block(batch.map(({ request, terms, claim }) => call(request.requester, "approve", [terms, claim])));
      }
      await anvil.call("evm_setAutomine", [true]);
    },
    async post() {
      const request = newRequest(await market.now());
      const data = dataOf("post", [request, "0x", "0x"]);
      const sent = { from: request.requester, to: deployment.market, gas: GAS, data };
      await anvil.call("eth_sendTransaction", [sent]);
      return request;
    },
  };
}

function call(from: Address, name: string, args: readonly unknown[]) {
  return { from, name, args };
}

function dataOf(name: string, args: readonly unknown[]): Hex {
  return encodeFunctionData({ abi: jobMarketAbi, functionName: name, args } as never);
}
