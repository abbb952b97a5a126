import {
  type Address,
  type Claim,
  didAttributes,
  identityRegistryAbi,
  jobMarketAbi,
  MODE,
  type Offer,
  operatorTree,
  providerStakingAbi,
  type Request,
  type Terms,
  textToBytes32,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import { encodeFunctionData, stringToHex } from "viem";
import type { PrivateKeyAccount } from "viem/accounts";
import { aClaim, SINK, type TestMarket, type TestNode } from "./market.ts";

/** A job as the traffic remembers it. */
interface KnownJob {
  request: Request;
  signature: `0x${string}`;
  offers: Offer[];
  /** What was submitted, by replica. */
  claims: Record<number, Claim>;
}

/** People who use a market at random, the same way for the same seed. */
export interface Traffic {
  /** Does `count` things, most of which succeed. Returns how many did, by name. */
  act(count: number): Promise<Map<string, number>>;
  /** Does each kind of thing that can happen in a market once, with what has to come before it. */
  actOnceEach(): Promise<void>;
  /** What happened, to be put back together with the chain. */
  remember(): unknown;
  restore(memory: unknown): void;
  readonly operators: readonly Address[];
  readonly accounts: readonly Address[];
  /** Tokens, verifiers and arbiters that operators may accept. */
  readonly acceptable: readonly Address[];
  /** Every job that was ever opened, also on branches that are gone. */
  readonly everyRequest: readonly Request[];
}

const STATE = { active: 2, submitted: 3, judging: 4, disputed: 5 };
/** A contract that answers every question with one word, which `setVerdict` chooses. */
const VERIFIER: Address = "0x00000000000000000000000000000000000012f3";
const VERDICT = { pending: 0, stands: 1, fails: 2, void: 3 };
const HEARTBEAT = 60;
const NO_CLAIM = aClaim({ resultHash: ZERO_BYTES32, resultBytes: 0n });

export async function startTraffic(market: TestMarket, seed: number): Promise<Traffic> {
  const { token, deployment } = market;
  const random = generator(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const judge = await market.account("judge");
  const arbiter = lower(judge.address);
  const nodes: TestNode[] = [];
  for (const name of ["ada", "bob", "cyd"]) nodes.push(await market.node(name));
  const [ada] = nodes as [TestNode];
  const listed = nodes.map(({ operator }) => lower(operator.address));
  for (const operator of listed) await market.setAccepted(operator, [VERIFIER, arbiter]);
  const second: TestNode = { ...ada, index: 1, key: await market.account("ada key 1") };
  await market.publish(second);
  await market.setLimits(second);
  nodes.push(second);
  const requesters = [await market.account("rex"), await market.account("sue")] as const;
  for (const { address } of requesters) await market.deposit(address, 5_000_000n);
  await setVerdict(VERDICT.pending);
  await market.anvil.call("anvil_setBalance", [SINK, "0x56bc75e2d63100000"]);
  const everyRequest: Request[] = [];
  let jobs: KnownJob[] = [];
  let posted: KnownJob[] = [];
  let epochs: Record<string, number> = {};

  const idOf = ({ operator, index }: TestNode) => `${operator.address}|${index}`;
  const onMarket = (from: Address, name: string, args: readonly unknown[]) =>
    market.send(from, deployment.market, jobMarketAbi, name as never, args as never);
  const onStaking = (from: Address, name: string, args: readonly unknown[]) =>
    market.send(from, deployment.staking, providerStakingAbi, name as never, args as never);
  /** Answers with a word: PUSH1 verdict, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN. */
  async function setVerdict(verdict: number): Promise<void> {
    await market.anvil.call("anvil_setCode", [VERIFIER, `0x600${verdict}5f5260205ff3`]);
  }

  // Orders

  const lease = () => ({
    mode: MODE.lease,
    maxSeconds: 600,
    heartbeatSeconds: HEARTBEAT,
    noticeSeconds: pick([0, 120]),
    challengeWindow: 0,
  });
  const judged = () => ({ verifier: VERIFIER, challengeWindow: pick([0, 300]), arbiterWindow: 300, bond: 500n });
  const contested = () => ({ arbiter, arbiterFee: 20n, challengeWindow: 600, arbiterWindow: 300, bond: 500n });
  const newRequest = async (requester: PrivateKeyAccount, replaced: Partial<Request> = {}) => {
    const bond = pick([0n, 500n]);
    const signed = await market.request(requester, {
      replicas: pick([1, 1, 2]),
      maxPrice: pick([2000n, 5000n]),
      matcherTip: pick([0n, 11n]),
      bond,
      bounty: bond === 0n ? 0n : pick([0n, 50n]),
      minStake: pick([0n, 1000n]),
      operators: pick([ZERO_BYTES32, ZERO_BYTES32, operatorTree(listed).root]),
      challengeWindow: pick([0, 600]),
      compensationBps: pick([0, 500]),
      ...pick([() => ({}), () => ({}), lease, judged, contested])(),
      ...replaced,
    });
    everyRequest.push(signed.request);
    return signed;
  };
  const offerOf = async (node: TestNode, request: Request) => {
    const { verifier, arbiter: named, arbiterFee } = request;
    const epoch = epochs[idOf(node)] ?? 0;
    return { ...(await market.offer(node, { epoch, verifier, arbiter: named, arbiterFee })), node };
  };
  const offersFor = async (request: Request) => {
    const start = Math.floor(random() * 3);
    const chosen = Array.from({ length: request.replicas }, (_, i) => nodes[(start + i) % 3] as TestNode);
    if (random() < 0.3 && !chosen.includes(ada)) chosen[0] = second;
    return Promise.all(chosen.map((node) => offerOf(node, request)));
  };
  const listOf = (request: Request) => (request.operators === ZERO_BYTES32 ? undefined : listed);
  const match = async (signed: Pick<KnownJob, "request" | "signature">, from = posted) => {
    const offers = await offersFor(signed.request);
    await market.match(signed, offers, listOf(signed.request));
    posted = from.filter(({ request }) => request !== signed.request);
    const job: KnownJob = { ...signed, offers: offers.map(({ offer }) => offer), claims: {} };
    jobs.push(job);
    return job;
  };
  /** In one transaction with a match that fails. */
  const matchInBatch = async ({ request, signature }: Pick<KnownJob, "request" | "signature">) => {
    const offers = await offersFor(request);
    const [orders, signatures] = [offers.map(({ offer }) => offer), offers.map((one) => one.signature)];
    const data = encodeFunctionData({
      abi: jobMarketAbi,
      functionName: "matchJob",
      args: [request, signature, "0x", orders, signatures, []],
    });
    await onMarket(requesters[1].address, "matchMany", [["0x", `0x${data.slice(10)}`], 1_000_000n]);
    jobs.push({ request, signature, offers: orders, claims: {} });
  };
  const post = async (replaced: Partial<Request> = {}) => {
    const signed = await newRequest(pick(requesters), replaced);
    await onMarket(signed.request.requester, "post", [signed.request, "0x", "0x"]);
    posted.push({ ...signed, offers: [], claims: {} });
    return signed;
  };
  const accept = async (job: Pick<KnownJob, "request" | "signature">) => {
    const [one] = await offersFor(job.request);
    if (one === undefined) return;
    const proof = job.request.operators === ZERO_BYTES32 ? [] : operatorTree(listed).proofOf(one.offer.operator);
    await onMarket(one.node.key.address, "accept", [job.request, one.offer, proof]);
    posted = posted.filter(({ request }) => request !== job.request);
    jobs.push({ ...job, offers: [one.offer], claims: {} });
  };

  // Replicas

  interface Part {
    job: KnownJob;
    terms: Terms;
    claim: Claim;
  }
  const partOf = (job: KnownJob, replica = 0): Part => {
    const terms = market.terms(job.request, job.offers[replica] as Offer, replica);
    return { job, terms, claim: job.claims[replica] ?? NO_CLAIM };
  };
  /** A replica in one of the states, mostly; else any, since people try what cannot be. */
  const some = async (states: readonly number[], fits: (job: KnownJob) => boolean = () => true): Promise<Part> => {
    const parts = jobs.filter(fits).flatMap((job) => job.offers.map((_, replica) => partOf(job, replica)));
    const stateOf = async ({ terms: { job, assignment } }: Part) => {
      const args = [job.jobId, assignment.replica] as const;
      const call = { address: deployment.market, abi: jobMarketAbi, functionName: "replicaOf", args } as const;
      return (await market.chain.readContract(call)).state;
    };
    const found = await Promise.all(parts.map(stateOf));
    const suitable = random() < 0.1 ? parts : parts.filter((_, i) => states.includes(found[i] as number));
    return pick(suitable);
  };
  const isLease = ({ request }: KnownJob) => request.mode === MODE.lease;
  const isBatch = (job: KnownJob) => !isLease(job);
  const isContested = ({ request }: KnownJob) => request.arbiter === arbiter;
  const submit = async ({ job, terms }: Part, charge = pick([0n, 5n])) => {
    const claim = aClaim({ charge });
    await market.submit(terms, claim);
    job.claims[terms.assignment.replica] = claim;
  };
  const by = ({ terms }: Part, who: "requester" | "operator") =>
    who === "requester" ? terms.job.requester : terms.assignment.operator;
  const finalize = ({ terms, claim }: Part) => onMarket(requesters[0].address, "finalize", [terms, claim]);
  const dispute = (part: Part) => onMarket(by(part, "requester"), "dispute", [part.terms, part.claim]);
  const rule = ({ terms, claim }: Part, award = pick([0n, claim.charge])) =>
    onMarket(judge.address, "rule", [terms, claim, award]);
  const decline = (part: Part, sibling = part.terms.assignment.replica) =>
    onMarket(by(part, "operator"), "decline", [part.terms, sibling]);
  const topUp = ({ terms }: Part) => onMarket(pick(requesters).address, "topUp", [terms, pick([1, 300])]);
  const close = (part: Part, who: "requester" | "operator" = pick(["requester", "operator"])) =>
    onMarket(by(part, who), "close", [part.terms]);
  const claimLease = (part: Part) => onMarket(by(part, "operator"), "claim", [part.terms]);
  const guardian = () =>
    market.chain.readContract({ address: deployment.market, abi: jobMarketAbi, functionName: "guardian" });
  const setPaused = async (paused: boolean) => onMarket(await guardian(), "setPaused", [paused]);
  const setGuardian = async (to: Address) => onMarket(await guardian(), "setGuardian", [to]);
  const collect = (address: Address) => onStaking(address, "collect", [address, token, address]);
  const requestExit = (address: Address) => onStaking(address, "requestExit", [address, token, 13n]);

  const deeds: Record<string, () => Promise<unknown>> = {
    deposit: () => market.deposit(pick(requesters).address, 1000n),
    withdraw: () => {
      const { address } = pick([...requesters, ...nodes.map(({ operator }) => operator)]);
      return onMarket(address, "withdraw", [address, token, 3n, address]);
    },
    post: () => post(),
    cancelPosted: async () => {
      const { request } = pick(posted);
      await onMarket(request.requester, "cancel", [request]);
      posted = posted.filter((job) => job.request !== request);
    },
    cancelUnposted: async () => {
      const { request } = await newRequest(pick(requesters));
      await onMarket(request.requester, "cancel", [request]);
    },
    match: async () => match(await newRequest(pick(requesters))),
    matchPosted: () => match(pick(posted)),
    accept: () => accept(pick(posted.filter(({ request }) => request.replicas === 1))),
    decline: async () => decline(await some([STATE.active])),
    leave: async () => {
      const part = await some([STATE.active], ({ offers }) => offers.length === 2);
      return decline(part, 1 - part.terms.assignment.replica);
    },
    submit: async () => submit(await some([STATE.active], isBatch)),
    approve: async () => {
      const part = await some([STATE.submitted, STATE.judging], isBatch);
      return onMarket(by(part, "requester"), "approve", [part.terms, part.claim]);
    },
    finalize: async () => finalize(await some(Object.values(STATE), isBatch)),
    verdict: () => setVerdict(pick(Object.values(VERDICT))),
    dispute: async () => dispute(await some([STATE.submitted, STATE.judging], isContested)),
    rule: async () => rule(await some([STATE.disputed], isContested)),
    claimLease: async () => claimLease(await some([STATE.active], isLease)),
    topUp: async () => topUp(await some([STATE.active], isLease)),
    close: async () => close(await some([STATE.active], isLease)),
    bump: async () => {
      const node = pick(nodes);
      await onMarket(node.key.address, "bumpEpoch", [node.operator.address, node.index]);
      epochs = { ...epochs, [idOf(node)]: (epochs[idOf(node)] ?? 0) + 1 };
    },
    publish: () => market.publish(pick(nodes), `http://127.0.0.1:${1000 + Math.floor(random() * 1000)}`),
    limits: () => market.setLimits(pick(nodes), { maxActive: pick([8, 9]) }),
    accepts: () => market.setAccepted(pick(listed), [pick(requesters).address], pick([true, false])),
    pause: () => setPaused(pick([true, false, false, false])),
    guardian: () => setGuardian(pick(requesters).address),
    stake: () => market.stake(pick(nodes).operator.address, 77n),
    requestExit: () => requestExit(pick(nodes).operator.address),
    cancelExit: () => {
      const { address } = pick(nodes).operator;
      return onStaking(address, "cancelExit", [address, token]);
    },
    exit: () => {
      const { address } = pick(nodes).operator;
      return onStaking(address, "exit", [address, token, address]);
    },
    collect: () => collect(pick([SINK, judge.address, ...requesters.map(({ address }) => address)])),
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
    hour: () => market.pass(pick([1, 1, 60, 120, 400])),
    week: async () => {
      await market.pass(8 * 24 * 3600);
      for (const node of nodes) await market.publish(node); // its key is about to expire
    },
  };
  const likely = [
    ...["match", "match", "match", "match", "submit", "submit", "submit", "submit", "approve", "finalize", "post"],
    ...["matchPosted", "dispute", "rule", "claimLease", "claimLease", "topUp", "close"],
  ];
  const names = [...Object.keys(deeds).filter((name) => name !== "week"), ...likely, ...likely, ...likely];

  /** A new job of one replica, or of what `replaced` says. */
  const job = async (replaced: Partial<Request>) =>
    match(await newRequest(requesters[0], { replicas: 1, operators: ZERO_BYTES32, ...replaced }));
  const batch: Partial<Request> = {
    ...{ mode: MODE.batch, verifier: ZERO_ADDRESS, arbiter: ZERO_ADDRESS, arbiterFee: 0n, arbiterWindow: 0 },
    ...{ maxSeconds: 60, heartbeatSeconds: 0, noticeSeconds: 0, challengeWindow: 600 },
    ...{ bond: 500n, bounty: 50n, compensationBps: 500, matcherTip: 11n, maxPrice: 5000n },
  };
  const leased = { ...batch, ...lease() };

  return {
    operators: listed,
    accounts: [...requesters, ...nodes.map(({ operator }) => operator), judge, market.anvil.accounts[0]]
      .map(({ address }) => lower(address))
      .concat(SINK),
    acceptable: [token, VERIFIER, arbiter, ...requesters.map(({ address }) => lower(address))],
    everyRequest,
    async actOnceEach() {
      await setPaused(true);
      await setPaused(false);
      await setGuardian(requesters[1].address);
      await post({ ...batch, replicas: 1 });
      await deeds["cancelPosted"]?.();
      await deeds["cancelUnposted"]?.();
      await accept(await post({ ...batch, replicas: 1, operators: operatorTree(listed).root }));
      await match(await post({ ...batch, replicas: 3, operators: operatorTree(listed).root }));

      await matchInBatch(await newRequest(requesters[0], { ...batch, replicas: 1, operators: ZERO_BYTES32 }));

      const instant = partOf(await job({ ...batch, challengeWindow: 0 }));
      await submit(instant, 5n);
      const early = partOf(await job(batch));
      await submit(early, 5n);
      await onMarket(by(early, "requester"), "approve", [early.terms, partOf(early.job).claim]);
      const late = partOf(await job({ ...batch, replicas: 1 }));
      await submit(late, 5n);
      await market.pass(601);
      await finalize(partOf(late.job));
      const gang = await job({ ...batch, replicas: 3 });
      await decline(partOf(gang, 0));
      await decline(partOf(gang, 1), 0);
      await market.pass(301);
      await finalize(partOf(gang, 2));
      for (let i = 0; i < 7; i++) await decline(partOf(await job({ ...batch, acceptWindow: 60 })));

      for (const end of ["upheld", "denied", "halved", "silence"] as const) {
        const part = partOf(await job({ ...batch, ...contested() }));
        await submit(part, 4n);
        const standing = partOf(part.job);
        await dispute(standing);
        if (end === "silence") {
          await market.pass(301);
          await finalize(standing);
        } else await rule(standing, { upheld: 4n, denied: 0n, halved: 2n }[end]);
      }
      for (const verdict of ["stands", "fails", "void", "pending"] as const) {
        await setVerdict(VERDICT.pending);
        const part = partOf(await job({ ...batch, ...judged(), challengeWindow: 300 }));
        await submit(part, 5n);
        await setVerdict(VERDICT[verdict]);
        await market.pass(601);
        await finalize(partOf(part.job));
      }

      const streamed = partOf(await job({ ...leased, noticeSeconds: 120 }));
      await market.pass(30);
      await claimLease(streamed);
      await topUp(streamed);
      await market.pass(50);
      await claimLease(streamed);
      await close(streamed, "requester");
      await market.pass(121);
      await close(streamed, "operator");
      await close(partOf(await job({ ...leased, noticeSeconds: 0 })), "operator");
      const silent = partOf(await job(leased));
      await market.pass(2 * HEARTBEAT + 1);
      await onMarket(requesters[1].address, "close", [silent.terms]);

      const { address } = ada.operator;
      await requestExit(address);
      await onStaking(address, "cancelExit", [address, token]);
      await requestExit(address);
      await deeds["week"]?.();
      await onStaking(address, "exit", [address, token, address]);
      for (const account of [SINK, arbiter, requesters[0].address]) await collect(account);
      await deeds["withdraw"]?.();
      await deeds["bump"]?.();

      // In every state that does not end by itself.
      await setVerdict(VERDICT.pending);
      await submit(partOf(await job({ ...batch, ...judged() })), 5n);
      const open = await job({ ...batch, ...contested() });
      await submit(partOf(open), 5n);
      await dispute(partOf(open));
      await submit(partOf(await job(batch)), 5n);
      await claimLease(partOf(await job(leased)));
      await post({ ...batch, replicas: 1 });
    },
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
        const name = random() < 0.01 ? "week" : pick(names);
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

function lower(account: string): Address {
  return account.toLowerCase() as Address;
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
