import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createOutbox, type Follower, followChain, type Outbox, sqliteOutboxStore } from "@berth/chain";
import { didOf, type Hex, type JobId, jobMarketAbi, MarketError, ZERO_BYTES32 } from "@berth/protocol";
import { createAttester } from "../attest/index.ts";
import { createMutex } from "../attest/mutex.ts";
import { type ChainAccess, connectChain } from "../chain/connect.ts";
import { intentsOf } from "../chain/intents.ts";
import { readKey } from "../chain/keys.ts";
import { readRegistration } from "../chain/registration.ts";
import { type Config, keyFileOf, need, wgKeyFileOf } from "../config.ts";
import { openContent } from "../content/open.ts";
import { sourcesOf } from "../content/sources.ts";
import { attemptName } from "../core/attempt-name.ts";
import { chainTime, type Seen } from "../core/clock.ts";
import { limitsFor } from "../core/offer.ts";
import type { JobTools, Machine, Self } from "../core/ports.ts";
import { progressOf } from "../core/progress.ts";
import { hindrancesOf } from "../core/readiness.ts";
import { freeBytesOf } from "../disk.ts";
import type { NodeServer } from "../http/listen.ts";
import { createLogGate } from "../http/log-gate.ts";
import { createLogs } from "../http/logs.ts";
import { type PhaseAnswer, startNodeServer } from "../http/server.ts";
import { peersFor } from "../image/fetch/peer.ts";
import { openImages } from "../image/images.ts";
import type { Context } from "../log.ts";
import { interfaceName } from "../mesh/interface-name.ts";
import { loadOrCreateKey } from "../mesh/keys.ts";
import { type Mesh, startMesh } from "../mesh/mesh.ts";
import { createFigures } from "../metrics/figures.ts";
import { createHeld } from "../metrics/held.ts";
import { createMetrics } from "../metrics/metrics.ts";
import { startMetricsServer } from "../metrics/server.ts";
import { createVeto } from "../policy/veto.ts";
import { type ChainStore, createChainStore } from "../store/chain-store.ts";
import { createDecisions } from "../store/decisions.ts";
import { isDraining } from "../store/drain.ts";
import { type AttemptRow, createJournal, type Journal } from "../store/journal.ts";
import { readOffering } from "../store/offering-state.ts";
import { claimJournal, lockDataFolder, lockKey, openJournalFile } from "../store/open.ts";
import { settlementStore } from "../store/settlements.ts";
import { type Accepting, createAccepting } from "./accept-posted.ts";
import { serveAdmin } from "./admin.ts";
import { capacityOf, type MachineDiagnosis, machineChecks, type Proven } from "./doctor.ts";
import { createIntake, type Intake } from "./intake.ts";
import { type Offering, startOffering } from "./offering.ts";
import { openMachine } from "./open-machine.ts";
import { fetchSpec } from "./prepare.ts";
import { recheck } from "./recheck.ts";
import { areNextKeysDue, takeNextKeys } from "./rotation.ts";
import { createRunner, type Runner } from "./runner.ts";
import { type Settling, startSettling } from "./settle.ts";
import { isUrgent, logByKey } from "./submit.ts";

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

/** How often old content is thrown away. */
const GC_MS = 600_000;

/**
 * Starts the node: takes the data folder, takes up what an earlier process left, and only then offers what the checks
 * proved. Throws what keeps it from starting at all, with what to do.
 */
export async function startDaemon(config: Config, context: Context): Promise<Daemon> {
  const stopping = new AbortController();
  const signal = AbortSignal.any([stopping.signal, context.signal]);
  const own: Context = { signal, log: context.log };
  const closers: (() => Promise<void> | void)[] = [];
  const closeAll = async () => {
    stopping.abort(new MarketError("STOPPED", "The node is stopping."));
    for (const close of closers.splice(0).reverse()) {
      await Promise.resolve(close()).catch((error: unknown) =>
        context.log.warn({ err: error }, "part did not stop cleanly"),
      );
    }
  };
  try {
    return await assemble(config, own, closers, closeAll);
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function assemble(
  config: Config,
  own: Context,
  closers: (() => Promise<void> | void)[],
  stop: () => Promise<void>,
): Promise<Daemon> {
  const { signal, log } = own;
  const lock = lockDataFolder(config.dataDir);
  closers.push(() => lock.release());
  readKey(keyFileOf(config), "hot key");
  const operator = need(config, "operator");
  const metrics = createMetrics();
  const access = await connectChain(config, own, metrics.rpcFailed);
  const { rpc, deployment } = access;
  const database = openJournalFile(config.dataDir);
  closers.push(() => database.close());
  const belonging = {
    chainId: rpc.chainId,
    genesis: access.genesis,
    market: deployment.market,
    operator,
    index: config.index,
  };
  claimJournal(database, belonging, config.dataDir);

  const journal = createJournal(database);
  const rotation = { config, access, database, journal };
  await takeNextKeys(rotation, own);
  const account = readKey(keyFileOf(config), "hot key");
  const keyLock = lockKey(account.address, rpc.chainId);
  closers.push(() => keyLock.release());
  const me = { operator, index: config.index };
  const chain = createChainStore({ database, journal, intentsOf: (block) => intentsOf(block, me, deployment) });
  const content = await openContent(config);
  closers.push(() => content.close());

  let isReady = false;
  let machine: Machine | undefined;
  /** None until the first checks have tried. */
  let provenGpus: readonly string[] = [];
  let following: Follower | undefined;
  let runner: Runner | undefined;
  let offering: Offering | undefined;
  let accepting: Accepting | undefined;
  let settling: Settling | undefined;
  let mesh: Mesh | undefined;
  let canMesh = false;
  let seen: Seen | undefined;
  const now = () => chainTime(Date.now(), seen);
  const intake = createIntake();
  const hindrances = () =>
    hindrancesOf({
      ...{ started: isReady, chain: following?.status(), hasEngine: machine !== undefined },
      ...{ draining: isDraining(database), freeBytes: freeBytesOf(config.dataDir), atMs: Date.now() },
      minFreeBytes: config.minFreeMiB * 2 ** 20,
    });
  const nameOf = (attempt: AttemptRow) => attemptName(config.runId, attempt);

  const server = await startNodeServer({
    host: config.http.host,
    port: config.http.port,
    content,
    log,
    hindrances,
    phaseOf: (jobId, replica) => phaseOf({ journal, runner, intake, now }, jobId as JobId, replica),
    logs: createLogs({
      ...{ journal, log, gate: createLogGate({ rpc, deployment, self: me, now }) },
      tools: { journal, content, engine: () => machine?.engine, nameOf },
    }),
  });
  closers.push(() => server.close());

  metrics.recovered(journal.open().length);
  machine = await machineOrNone(config, journal, () => provenGpus, own);
  closers.push(() => releaseMachine(machine, own));
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

  const wake = () => {
    runner?.poke();
    settling?.poke();
    accepting
      ?.look()
      .catch((error: unknown) => signal.aborted || log.warn({ err: error }, "posted requests not looked at"));
  };
  const outbox: Outbox = createOutbox({
    rpc,
    account,
    chainId: rpc.chainId,
    store: sqliteOutboxStore(database.db),
    log: logByKey(log),
    signal,
    confirmations: config.confirmations,
    abi: jobMarketAbi,
    pollMs: config.pollMs,
    feePolicy: { maxFeePerGas: config.transactions.maxFeePerGas },
    dailyGasBudget: config.transactions.dailyGasBudget,
    isUrgent,
    onChange: () => runner?.poke(),
  });
  closers.push(() => outbox.done.catch(() => undefined));

  const stagingDir = join(config.dataDir, "staging");
  await mkdir(stagingDir, { recursive: true, mode: 0o711 });
  const allowPrivate = config.content.allowPrivateSources;
  const images = openImages({
    dir: join(config.dataDir, "images"),
    settings: config.images,
    allowPrivate,
    minFreeBytes: config.minFreeMiB * 2 ** 20,
    peersFor: (digest) => peersFor(digest, chain.nodes(), me, { now: now(), allowPrivate }),
    now,
  });
  const sourceOptions = { indexers: config.indexers, gateways: config.contentGateways, allowPrivate, chain, now };
  let servesGvisor: boolean | undefined;
  const tools: JobTools = {
    self,
    deployment,
    database,
    journal,
    chain,
    outbox,
    content,
    machine,
    images,
    attester: config.attestation.type === "none" ? undefined : createAttester(config.attestation, { log }),
    sourcesOf: (job, own) => sourcesOf(job, sourceOptions, own),
    stagingDir,
    maxContentBytes: config.maxContentMiB * 2 ** 20,
    minFreeBytes: config.minFreeMiB * 2 ** 20,
    maxOutputFiles: config.maxOutputFiles,
    intake,
    servesGvisor: () => servesGvisor,
    vetoMatch: createVeto({
      ...{ self, rpc, deployment, database, journal, now },
      ...{ deny: config.offers.deny, declineAtCost: config.offers.declineAtCost, hook: config.hook },
      isUnsigned: config.images.policy.length === 0 ? undefined : images.isUnsigned,
      ...(machine?.unfit !== undefined && { unfit: machine.unfit }),
      fetchSpec: (job, own) => fetchSpec(job, tools, own),
    }),
    now,
  };

  /** Joins the mesh as soon as this node is in the registry, and keeps its peers those of the registry. */
  const exclusive = createMutex();
  const meet = () =>
    exclusive(async () => {
      if (!canMesh || signal.aborted) return;
      mesh ??= await joinMesh(config, access, self, own);
      if (mesh === undefined) return;
      const nodes = meshNodes(chain);
      if (JSON.stringify(nodes, bigintText) === applied) return;
      await mesh.applyNodes(nodes);
      applied = JSON.stringify(nodes, bigintText);
    }).catch((error: unknown) => {
      if (signal.aborted) return;
      const { code, message, hint } = error as MarketError;
      canMesh = mesh !== undefined;
      log.error({ code, reason: message, hint }, "mesh is not up to date; everything else works");
    });
  let applied = "";

  const keysDue = Promise.withResolvers<void>();
  /** Asks whether the chain has new keys of this node by now. */
  const lookForKeys = () =>
    exclusive(async () => {
      if (isReady && !signal.aborted && (await areNextKeysDue(rotation))) keysDue.resolve();
    }).catch((error: unknown) => {
      const { code, message, hint } = error as MarketError;
      if (!signal.aborted) log.error({ code, reason: message, hint }, "new keys cannot be put into use");
    });

  const follower: Follower = followChain({
    rpc,
    addresses: [deployment.market, deployment.identity],
    fromBlock: deployment.fromBlock,
    confirmations: config.confirmations,
    store: chain,
    pollMs: config.pollMs,
    signal,
    log,
    onBatch: (step) => {
      const last = step.type === "blocks" ? step.blocks.at(-1) : undefined;
      if (last !== undefined) seen = { timestamp: last.timestamp, atMs: Date.now() };
      wake();
      void meet();
      void lookForKeys();
    },
  });
  closers.push(() => follower.done.catch(() => undefined));
  following = follower;
  const { metricsHost, metricsPort } = config.http;
  let metricsServer: NodeServer | undefined;
  if (metricsPort !== undefined) {
    metrics.watch({
      ...{ dataDir: config.dataDir, engine: machine === undefined ? "none" : config.engine.type, content, now },
      ...{ capacity: capacityOf(config), figures: createFigures(database), hindrances },
      held: createHeld(config.dataDir, machine, own),
      chain: () => follower.status(),
      blockTime: () => chain.tip()?.timestamp,
      offering: () => readOffering(database),
    });
    metricsServer = await startMetricsServer({ host: metricsHost, port: metricsPort }, metrics, log);
    closers.push(metricsServer.close);
  }

  runner = createRunner(tools, own, (transition) => {
    if (transition.from.state === "fetching") intake.forget(transition.to);
    metrics.observe(transition);
  });
  const running = runner;
  closers.push(() => running.idle());
  const live = { runner: () => runner, offering: () => offering, isReady: () => isReady };
  const admin = await serveAdmin({ dataDir: config.dataDir, rpc, tools, ...live }, own);
  closers.push(() => admin.close());
  runner.poke();

  const ready = (async () => {
    await Promise.race([follower.synced, follower.done]);
    signal.throwIfAborted();
    let usable: Proven;
    const found = ({ proven, checks }: MachineDiagnosis) => {
      for (const { name, status, detail, fix } of checks)
        if (status === "fail") log.warn({ check: name, detail, fix }, "check of this machine failed");
      usable = { ...proven, containers: proven.containers && machine !== undefined };
      // Who was matched while it was offered is served all the same: the engine falls back on nothing else.
      servesGvisor = servesGvisor === true || proven.gvisor === true;
      provenGpus = proven.gpus;
      offering?.poke();
    };
    const diagnosis = await machineChecks(config, own, { reuse: true });
    found(diagnosis);
    canMesh = config.mesh.enabled && diagnosis.proven.mesh;
    closers.push(() => mesh?.stop());
    await meet();
    const capacity = capacityOf(config);
    const behindSince = () => follower.status().behindSince;
    const about = { config, self, rpc, deployment, database, capacity, proven: () => usable, behindSince, now };
    offering = startOffering({ ...about, onChange: () => wake() }, own);
    const { done, current, reason } = offering;
    closers.push(() => done);
    const rechecked = recheck(() => machineChecks(config, own), config.recheckSeconds * 1000, found, own);
    closers.push(() => rechecked);
    accepting = createAccepting(
      {
        ...{ accepts: config.acceptPosted, deny: config.offers.deny, hook: config.hook, self, deployment, chain, now },
        ...{ journal, outbox, decisions: createDecisions(database), limits: limitsFor(capacity, config.offers) },
        ...{ quotes: current, whyNone: reason },
        ...(machine?.unfit !== undefined && { unfit: machine.unfit }),
      },
      own,
    );
    const { idle } = accepting;
    closers.push(idle);
    collectGarbage(config, tools, own);
    if (config.transactions.settle.enabled) {
      const rules = config.transactions.settle;
      const settlements = settlementStore(database);
      settling = startSettling({ rules, self, rpc, deployment, journal, settlements, outbox, now }, own);
      const { done: settled } = settling;
      closers.push(() => settled);
    }
    isReady = true;
    wake();
  })();
  ready.catch(() => undefined);

  const failed = Promise.race([rejects(follower.done), rejects(outbox.done), rejects(ready)]);
  failed.catch(() => undefined);
  return {
    ready,
    failed,
    keysDue: keysDue.promise,
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
      meshAddress: mesh?.address ?? null,
      chainId: rpc.chainId,
      market: deployment.market,
    }),
  };
}

/** The engine, with everything that no open attempt needs cleaned away; or none, with the reason in the log. */
async function machineOrNone(
  config: Config,
  journal: Journal,
  gpuDevices: () => readonly string[],
  own: Context,
): Promise<Machine | undefined> {
  try {
    const nodeId = `${config.operator}-${config.index}`;
    const { dataDir, runId, engine } = config;
    const machine = await openMachine({ dataDir, runId, nodeId, engine, gpuDevices }, own);
    const keep = journal.open().map((attempt) => attemptName(runId, attempt));
    const reaped = await machine.engine.reap(keep, own);
    if (reaped.length > 0) own.log.info({ reaped }, "left-over containers removed");
    return machine;
  } catch (error) {
    own.signal.throwIfAborted();
    const { message, hint } = error as MarketError;
    own.log.error(
      { reason: message, hint },
      "this machine cannot run jobs; the node serves content and follows the chain",
    );
    return undefined;
  }
}

async function releaseMachine(machine: Machine | undefined, { log }: Context): Promise<void> {
  if (machine === undefined || machine.engine.list().length > 0) return;
  await machine.engine.release({ log, signal: AbortSignal.timeout(15_000) });
}

/** Undefined until this node's own key is in the registry: its mesh prefix comes from there. */
async function joinMesh(
  config: Config,
  { rpc, deployment }: ChainAccess,
  self: Self,
  { signal, log }: Context,
): Promise<Mesh | undefined> {
  const { key, prefix } = await readRegistration(rpc, deployment, self);
  if (key !== self.account.address.toLowerCase()) return undefined;
  return await startMesh({
    interfaceName: config.mesh.interfaceName ?? interfaceName(config.runId, config.index),
    keyFile: wgKeyFileOf(config),
    listenPort: config.mesh.listenPort,
    prefix56: prefix,
    stateDir: join(config.dataDir, "mesh"),
    allowPrivateEndpoints: config.mesh.allowPrivateEndpoints,
    signal,
    log,
  });
}

function meshNodes(chain: ChainStore) {
  return chain.nodes().map(({ operator, index, wgKey, prefix, wgEndpoint, validTo }) => ({
    nodeId: `${operator}/${index}`,
    wgKey: wgKey as Hex,
    prefix56: BigInt(prefix),
    endpoint: wgEndpoint,
    validTo,
    revoked: false,
  }));
}

function bigintText(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

interface PhaseTools {
  journal: Journal;
  runner: Runner | undefined;
  intake: Intake;
  now(): number;
}

function phaseOf({ journal, runner, intake, now }: PhaseTools, jobId: JobId, replica: number): PhaseAnswer | undefined {
  const [job, attempt] = [journal.job(jobId, replica), journal.attempt(jobId, replica)];
  if (job === undefined || attempt === undefined) return undefined;
  const message = attempt.message || runner?.troubleOf(jobId, replica);
  return {
    ...{ jobId, replica, ...progressOf(job, attempt, now(), intake.of(job)) },
    ...(message !== undefined && message !== "" && { message }),
  };
}

function collectGarbage(config: Config, { content, machine, images, now }: JobTools, own: Context): void {
  const { signal, log } = own;
  const collect = async () => {
    const gone = await content.gc(now(), { signal });
    if (gone.blocks > 0) log.info(gone, "old content removed");
    const isTight = freeBytesOf(config.dataDir) < 2 * config.minFreeMiB * 2 ** 20;
    const dropped = await machine?.evictImages(isTight ? 0 : config.images.cacheMiB * 2 ** 20, own);
    if (dropped !== undefined && dropped.length > 0) log.info({ images: dropped }, "unused images removed");
    const blobBytes = await images.evict(isTight);
    if (blobBytes > 0) log.info({ bytes: blobBytes }, "unused blobs of images removed");
  };
  let last = Promise.resolve();
  const timer = setInterval(() => {
    last = last
      .then(collect)
      .catch((error: unknown) => signal.aborted || log.warn({ err: error }, "old content or images not removed"))
      .then(() => undefined);
  }, GC_MS).unref();
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** Only ever rejects: a part that ends well has been stopped on purpose. */
async function rejects(promise: Promise<unknown>): Promise<never> {
  await promise;
  return new Promise<never>(() => undefined);
}
