import { type Follower, followChain } from "@berth/chain";
import type { Listening } from "@berth/content";
import { didOf, type JobId, MarketError, ZERO_BYTES32 } from "@berth/protocol";
import { createMutex } from "../attest/mutex.ts";
import { intentsOf } from "../chain/intents.ts";
import { type Config, need, wgKeyFileOf } from "../config.ts";
import { openContent } from "../content/open.ts";
import { attemptName } from "../core/attempt-name.ts";
import { createClock, isFollowed } from "../core/clock.ts";
import type { Self } from "../core/ports.ts";
import { hindrancesOf } from "../core/readiness.ts";
import { freeBytesOf } from "../disk.ts";
import { createLogGate } from "../http/log-gate.ts";
import { createLogs } from "../http/logs.ts";
import { startNodeServer } from "../http/server.ts";
import type { Context } from "../log.ts";
import { loadOrCreateKey } from "../mesh/keys.ts";
import { createFigures } from "../metrics/figures.ts";
import { createHeld } from "../metrics/held.ts";
import { createMetrics } from "../metrics/metrics.ts";
import { startMetricsServer } from "../metrics/server.ts";
import { blockTimeOf, createChainStore } from "../store/chain-store.ts";
import { isDraining } from "../store/drain.ts";
import { readOffering } from "../store/offering-state.ts";
import { serveAdmin } from "./admin.ts";
import { type Closers, closeAll } from "./closers.ts";
import { type Dealing, startDealing } from "./dealing.ts";
import { capacityOf, type MachineDiagnosis, machineChecks, withHead } from "./doctor.ts";
import { scheduleGc } from "./gc.ts";
import { createIntake } from "./intake.ts";
import { createKeysDue } from "./keys-due.ts";
import { createMembership } from "./mesh-membership.ts";
import { openMachine } from "./open-machine.ts";
import { openOutbox } from "./open-outbox.ts";
import { openTools } from "./open-tools.ts";
import { phaseOf } from "./phase.ts";
import { createProof } from "./proof.ts";
import { type Rechecking, startRechecking } from "./recheck.ts";
import { createRunner, type Runner } from "./runner.ts";
import { takeData } from "./take-data.ts";
import { releaseMachine, type TakenMachine, takeMachine } from "./take-machine.ts";

/** What a running node says of itself when it is ready. */
export interface ReadyFacts {
  did: string;
  operator: string;
  index: number;
  key: string;
  wgKey: string;
  url: string;
  publicUrl: string;
  /** Null unless `http.metricsPort` is set. */
  metricsUrl: string | null;
  meshAddress: string | null;
  chainId: number;
  market: string;
}

export interface Daemon {
  facts(): ReadyFacts;
  /** Resolves when everything runs and the chain has been followed to its end. */
  readonly ready: Promise<void>;
  /** Rejects when a part without which the node is of no use has failed. */
  readonly failed: Promise<never>;
  /** Resolves when new keys of the node can be put into use: stop, and start again. */
  readonly keysDue: Promise<void>;
  /** Stops politely. Containers keep running and are found again by the next start. */
  stop(): Promise<void>;
}

/**
 * Starts the node: takes the data folder, takes up what an earlier process left, and only then offers what the checks
 * proved. Throws what keeps it from starting at all, with what to do.
 */
export async function startDaemon(config: Config, context: Context): Promise<Daemon> {
  const stopping = new AbortController();
  const signal = AbortSignal.any([stopping.signal, context.signal]);
  const own: Context = { signal, log: context.log };
  const closers: Closers = [];
  const stop = async () => {
    stopping.abort(new MarketError("STOPPED", "The node is stopping."));
    await closeAll(closers, context.log);
  };
  try {
    return await assemble(config, own, closers, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function assemble(config: Config, own: Context, closers: Closers, stop: () => Promise<void>): Promise<Daemon> {
  const { signal, log } = own;
  const metrics = createMetrics();
  const data = await takeData(config, metrics.rpcFailed, own, closers);
  const { access, database, journal, account } = data;
  const { rpc, deployment } = access;
  const operator = need(config, "operator");
  const me = { operator, index: config.index };
  const clock = createClock(blockTimeOf(database));
  const { now } = clock;
  const chain = createChainStore({ database, journal, intentsOf: (block) => intentsOf(block, me, deployment), now });
  const content = await openContent(config);
  closers.push(() => content.close());

  let isReady = false;
  let taken: TakenMachine | undefined;
  let following: Follower | undefined;
  let runner: Runner | undefined;
  let dealing: Dealing | undefined;
  let rechecking: Rechecking | undefined;
  const intake = createIntake();
  const proof = createProof(log, () => taken?.current() !== undefined);
  const hindrances = () =>
    hindrancesOf({
      ...{ started: isReady, chain: following?.status(), engineTrouble: taken?.trouble() },
      ...{ draining: isDraining(database), freeBytes: freeBytesOf(config.dataDir), atMs: Date.now() },
      minFreeBytes: config.minFreeMiB * 2 ** 20,
    });

  const server = await startNodeServer({
    host: config.http.host,
    port: config.http.port,
    connectionsPerAddress: config.http.connectionsPerAddress,
    content,
    log,
    hindrances,
    phaseOf: (jobId, replica) => phaseOf({ journal, runner, intake, now }, jobId as JobId, replica),
    logs: createLogs({
      ...{ journal, log, gate: createLogGate({ rpc, deployment, self: me, now }) },
      tools: {
        journal,
        content,
        engine: () => taken?.current()?.engine,
        nameOf: (row) => attemptName(config.runId, row),
      },
    }),
  });
  closers.push(() => server.close());

  metrics.recovered(journal.open().length);
  const { dataDir, runId } = config;
  const about = { dataDir, runId, nodeId: `${operator}-${config.index}`, gpuDevices: proof.gpus };
  const engine = await takeMachine(
    {
      open: () => openMachine({ ...about, engine: config.engine }, own),
      keep: () => journal.open().map((attempt) => attemptName(runId, attempt)),
      onOpen: () => {
        runner?.poke();
        rechecking?.poke();
      },
    },
    own,
  );
  taken = engine;
  closers.push(() => releaseMachine(engine, own));
  const { publicKey } = await loadOrCreateKey(wgKeyFileOf(config));
  const self: Self = {
    ...me,
    account,
    get wgKey() {
      const node = chain.nodes().find((found) => found.operator === operator && found.index === config.index);
      return config.mesh.enabled && node?.key === account.address.toLowerCase() ? node.wgKey : ZERO_BYTES32;
    },
    runId: config.runId,
    publicUrl: (config.http.publicUrl ?? server.url).replace(/\/+$/, ""),
  };

  const outbox = openOutbox({ config, rpc, account, database, onChange: (...about) => runner?.wake(...about) }, own);
  closers.push(() => outbox.done.catch(() => undefined));
  const { servesGvisor } = proof;
  const parts = {
    ...{ self, deployment, database, journal, chain, outbox, content, intake, servesGvisor, now },
    isFollowed: () => isFollowed(following?.status()),
    get machine() {
      return engine.current();
    },
  };
  const tools = await openTools(parts, { config, rpc }, own);

  const wake = () => {
    runner?.poke();
    dealing?.poke();
  };
  const exclusive = createMutex();
  const membership = createMembership({ config, access, self, chain, exclusive }, own);
  const keys = createKeysDue(data, () => isReady, exclusive, own);
  const follower: Follower = followChain({
    rpc,
    addresses: [deployment.market, deployment.identity],
    fromBlock: deployment.fromBlock,
    confirmations: config.confirmations,
    store: chain,
    pollMs: config.pollMs,
    signal,
    log,
    onHead: ({ timestamp }) => clock.saw(timestamp),
    onBatch: () => {
      wake();
      void membership.update();
      keys.look();
    },
  });
  closers.push(() => follower.done.catch(() => undefined));
  following = follower;

  const { metricsHost, metricsPort } = config.http;
  let metricsServer: Listening | undefined;
  if (metricsPort !== undefined) {
    metrics.watch({
      ...{ dataDir: config.dataDir, content, now },
      engine: () => (engine.current() === undefined ? "none" : config.engine.type),
      ...{ capacity: capacityOf(config), figures: createFigures(database), hindrances },
      held: createHeld(config.dataDir, engine.current, own),
      chain: () => follower.status(),
      blockTime: () => chain.tip()?.timestamp,
      offering: () => readOffering(database),
    });
    metricsServer = await startMetricsServer({ host: metricsHost, port: metricsPort }, metrics, log);
    closers.push(metricsServer.close);
  }

  const running = createRunner(tools, own, (transition) => {
    if (transition.from.state === "fetching") intake.forget(transition.to);
    metrics.observe(transition);
  });
  runner = running;
  closers.push(() => running.idle());
  const live = { runner: () => runner, offering: () => dealing?.offering, isReady: () => isReady };
  const admin = await serveAdmin({ dataDir: config.dataDir, rpc, tools, ...live }, own);
  closers.push(() => admin.close());
  running.poke();

  const ready = (async () => {
    await Promise.race([follower.synced, follower.done]);
    signal.throwIfAborted();
    running.poke();
    const found = (diagnosis: MachineDiagnosis) => {
      proof.note(diagnosis);
      dealing?.offering.poke();
    };
    const first = await withHead(await machineChecks(config, own, { reuse: true, onGpus: proof.tries }), rpc, own);
    found(first);
    closers.push(() => membership.leave());
    await membership.begin(proof.proven().mesh);
    const behindSince = () => follower.status().behindSince;
    dealing = startDealing({ config, rpc, tools, proven: proof.proven, behindSince, onOffers: wake }, own, closers);
    const check = async () => withHead(await machineChecks(config, own, { onGpus: proof.tries }), rpc, own);
    const rechecks = startRechecking({ first, check, everyMs: config.recheckSeconds * 1000, onFound: found }, own);
    rechecking = rechecks;
    closers.push(() => rechecks.done);
    const kept = { content, machine: engine.current, blobs: tools.images, now: () => blockTimeOf(database) };
    scheduleGc(config, { ...kept, database }, own);
    isReady = true;
    wake();
  })();
  ready.catch(() => undefined);

  const failed = Promise.race([rejects(follower.done), rejects(outbox.done), rejects(ready)]);
  failed.catch(() => undefined);
  return {
    ready,
    failed,
    keysDue: keys.due,
    stop,
    facts: () => ({
      did: didOf(rpc.chainId, operator),
      operator,
      index: config.index,
      key: account.address.toLowerCase(),
      wgKey: publicKey,
      url: server.url,
      publicUrl: self.publicUrl,
      metricsUrl: metricsServer === undefined ? null : `${metricsServer.url}/metrics`,
      meshAddress: membership.address(),
      chainId: rpc.chainId,
      market: deployment.market,
    }),
  };
}

/** Only ever rejects: a part that ends well has been stopped on purpose. */
async function rejects(promise: Promise<unknown>): Promise<never> {
  await promise;
  return new Promise<never>(() => undefined);
}
