import {
  type Address,
  didAttributes,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  type Offer,
  providerStakingAbi,
  type Request,
  textToBytes32,
  ZERO_ADDRESS,
} from "@berth/protocol";
import { stringToHex } from "viem";
import type { PrivateKeyAccount } from "viem/accounts";
import { aClaim, type TestMarket, type TestNode } from "./market.ts";

/** A job as the traffic remembers it. */
interface KnownJob {
  request: Request;
  signature: Hex;
  offers: Offer[];
}

/** People who use a market at random, the same way for the same seed. */
export interface Traffic {
  /** Does `count` things, most of which succeed. Returns how many did, by name. */
  act(count: number): Promise<Map<string, number>>;
  /** What happened, to be put back together with the chain. */
  remember(): unknown;
  restore(memory: unknown): void;
  readonly operators: readonly Address[];
  readonly accounts: readonly Address[];
  /** Every job that was ever opened, also on branches that are gone. */
  readonly everyRequest: readonly Request[];
}

export async function startTraffic(market: TestMarket, seed: number): Promise<Traffic> {
  const { token, deployment } = market;
  const random = generator(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const nodes: TestNode[] = [];
  for (const name of ["ada", "bob", "cyd"]) nodes.push(await market.node(name));
  const second: TestNode = { ...(nodes[0] as TestNode), index: 1, key: await market.account("ada key 1") };
  await market.publish(second);
  await market.setLimits(second);
  nodes.push(second);
  const requesters = [await market.account("rex"), await market.account("sue")];
  for (const { address } of requesters) await market.deposit(address, 5_000_000n);
  const everyRequest: Request[] = [];
  let jobs: KnownJob[] = [];
  let posted: KnownJob[] = [];
  let epochs: Record<string, number> = {};

  const idOf = ({ operator, index }: TestNode) => `${operator.address}|${index}`;
  const newRequest = async (requester: PrivateKeyAccount) => {
    const signed = await market.request(requester, {
      replicas: pick([1, 1, 2]),
      maxPrice: pick([1000n, 5000n]),
      matcherTip: pick([0n, 11n]),
      bond: pick([0n, 500n]),
      challengeWindow: pick([0, 600]),
      compensationBps: pick([0, 500]),
    });
    everyRequest.push(signed.request);
    return signed;
  };
  const offersFor = async (request: Request) => {
    const start = Math.floor(random() * 3);
    const chosen = Array.from({ length: request.replicas }, (_, i) => nodes[(start + i) % 3] as TestNode);
    if (random() < 0.3 && !chosen.includes(nodes[0] as TestNode)) chosen[0] = second;
    return Promise.all(
      chosen.map(async (node) => ({ ...(await market.offer(node, { epoch: epochs[idOf(node)] ?? 0 })), node })),
    );
  };
  const someReplica = () => {
    const job = pick(jobs);
    const replica = Math.floor(random() * job.offers.length);
    return { request: job.request, offer: job.offers[replica] as Offer, replica };
  };
  const noClaim = aClaim({ resultHash: `0x${"0".repeat(64)}`, resultBytes: 0n });
  const onMarket = (from: Address, name: never, args: readonly unknown[]) =>
    market.send(from, deployment.market, jobMarketAbi, name, args as never);

  const deeds: Record<string, () => Promise<unknown>> = {
    deposit: () => market.deposit(pick(requesters).address, 1000n),
    withdraw: () => {
      const { address } = pick([...requesters, ...nodes.map(({ operator }) => operator)]);
      return onMarket(address, "withdraw" as never, [address, token, 3n, address]);
    },
    post: async () => {
      const signed = await newRequest(pick(requesters));
      await onMarket(signed.request.requester, "post" as never, [signed.request, "0x", "0x"]);
      posted.push({ ...signed, offers: [] });
    },
    cancelPosted: async () => {
      const { request } = pick(posted);
      await onMarket(request.requester, "cancel" as never, [request]);
      posted = posted.filter((job) => job.request !== request);
    },
    cancelUnposted: async () => {
      const { request } = await newRequest(pick(requesters));
      await onMarket(request.requester, "cancel" as never, [request]);
    },
    match: async () => {
      const signed = await newRequest(pick(requesters));
      const offers = await offersFor(signed.request);
      await market.match(signed, offers);
      jobs.push({ ...signed, offers: offers.map(({ offer }) => offer) });
    },
    matchPosted: async () => {
      const job = pick(posted);
      const offers = await offersFor(job.request);
      await market.match(job, offers);
      posted = posted.filter((other) => other !== job);
      jobs.push({ ...job, offers: offers.map(({ offer }) => offer) });
    },
    accept: async () => {
      const job = pick(posted.filter(({ request }) => request.replicas === 1));
      const [one] = await offersFor(job.request);
      if (one === undefined) return;
      await onMarket(one.node.key.address, "accept" as never, [job.request, one.offer, market.limitsOf(one.node)]);
      posted = posted.filter((other) => other !== job);
      jobs.push({ ...job, offers: [one.offer] });
    },
    decline: () => {
      const terms = someReplica();
      return onMarket(terms.offer.operator, "decline" as never, [terms]);
    },
    submit: () => market.submit(someReplica(), aClaim({ charge: pick([0n, 5n]) })),
    approve: () => {
      const terms = someReplica();
      return onMarket(terms.request.requester, "approve" as never, [terms, aClaim({ charge: pick([0n, 5n]) })]);
    },
    settleLate: () =>
      onMarket(requesters[0]?.address as Address, "finalize" as never, [someReplica(), aClaim({ charge: 5n })]),
    timeOut: () => onMarket(requesters[0]?.address as Address, "finalize" as never, [someReplica(), noClaim]),
    bump: async () => {
      const node = pick(nodes);
      await onMarket(node.key.address, "bumpEpoch" as never, [node.operator.address, node.index]);
      epochs = { ...epochs, [idOf(node)]: (epochs[idOf(node)] ?? 0) + 1 };
    },
    publish: () => market.publish(pick(nodes), `http://127.0.0.1:${1000 + Math.floor(random() * 1000)}`),
    limits: () => market.setLimits(pick(nodes), { maxActive: pick([8, 9]) }),
    stake: () => market.stake(pick(nodes).operator.address, 77n),
    requestExit: () => {
      const { address } = pick(nodes).operator;
      return market.send(address, deployment.staking, providerStakingAbi, "requestExit", [address, token, 13n]);
    },
    exit: async () => {
      const { address } = pick(nodes).operator;
      await market.send(address, deployment.staking, providerStakingAbi, "exit", [address, token, address]);
    },
    contentUrl: () => {
      const { address } = pick(requesters);
      const name = textToBytes32(didAttributes.contentUrl);
      const value = stringToHex(`https://${Math.floor(random() * 1000)}.example`);
      const args = [address, name, value, 1000n] as const;
      return market.send(address, deployment.identity, identityRegistryAbi, "setAttribute", args);
    },
    retire: async () => {
      const stranger = await market.account(`stranger ${Math.floor(random() * 4)}`);
      const args = [stranger.address, ZERO_ADDRESS] as const;
      await market.send(stranger.address, deployment.identity, identityRegistryAbi, "changeOwner", args);
    },
    revoke: async () => {
      const args = [second.operator.address, second.index] as const;
      await market.send(second.operator.address, deployment.identity, identityRegistryAbi, "revokeNode", args);
    },
    hour: () => market.pass(pick([1, 60, 400, 700])),
    week: () => market.pass(8 * 24 * 3600),
  };
  const likely = ["match", "match", "match", "submit", "submit", "submit", "approve", "post", "post", "matchPosted"];
  const names = [...Object.keys(deeds).filter((name) => name !== "week"), ...likely];

  return {
    operators: nodes.map(({ operator }) => operator.address.toLowerCase() as Address),
    accounts: [...requesters, ...nodes.map(({ operator }) => operator), market.anvil.accounts[0]].map(
      ({ address }) => address.toLowerCase() as Address,
    ),
    everyRequest,
    remember: () => structuredClone({ jobs, posted, epochs }),
    restore(memory) {
      ({ jobs, posted, epochs } = structuredClone(memory) as {
        jobs: KnownJob[];
        posted: KnownJob[];
        epochs: Record<string, number>;
      });
    },
    async act(count) {
      const done = new Map<string, number>();
      for (let i = 0; i < count; i++) {
        const name = random() < 0.02 ? "week" : pick(names);
        try {
          await deeds[name]?.();
          done.set(name, (done.get(name) ?? 0) + 1);
        } catch {
          // The contract refused, or there was nothing to do it with: people try such things.
        }
      }
      return done;
    },
  };
}

/** mulberry32: numbers in [0, 1) that depend on the seed alone. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
