import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import type { Rpc } from "@berth/chain";
import { errorToJson, type NodeLimits } from "@berth/protocol";
import { formatEther, type LocalAccount } from "viem";
import { probeAttester } from "../attest/index.ts";
import { bootId } from "../boot-id.ts";
import { type ChainAccess, clockSkew, connectChain } from "../chain/connect.ts";
import { readKey } from "../chain/keys.ts";
import {
  areLimits,
  hasLimits,
  isPublished,
  type Registration,
  readNotAccepted,
  readRegistration,
  readStake,
} from "../chain/registration.ts";
import type { SlurmConfig } from "../config/slurm.ts";
import { type Config, keyFileOf, need } from "../config.ts";
import { defaultCapacity } from "../core/capacity.ts";
import { type Check, failedBy, passed } from "../core/check.ts";
import { acceptedBy, type Capacity, limitsFor } from "../core/offer.ts";
import { freeBytesOf } from "../disk.ts";
import { clockCheck, syncCheck } from "../doctor/chain-probes.ts";
import { runProbes } from "../doctor/probes.ts";
import { reachCheck } from "../doctor/reach-probe.ts";
import { stakeChecks } from "../doctor/stake.ts";
import type { Capability, Probe } from "../doctor/types.ts";
import { measurePartition } from "../engine/slurm-cluster.ts";
import { accountChecks } from "../image/accounts.ts";
import type { Context } from "../log.ts";
import { probeMesh } from "../mesh/probe.ts";
import { profilesOf } from "../policy/profiles.ts";

/** Gas that a node should be able to pay: some hundred results on a cheap chain. */
const LOW_BALANCE_WEI = 10n ** 16n;
/** Days of key validity below which a new publication is due. */
const KEY_DAYS_WARN = 7;

/** What the node may promise. Nothing is in here that was not tried. */
export interface Proven {
  containers: boolean;
  mesh: boolean;
  /** Jobs in gVisor, besides those in plain containers. */
  gvisor: boolean;
  /** The GPUs that jobs can have: CDI names; with Slurm as many names as there are, one of which a job has had. */
  gpus: string[];
  attestation: "none" | "tpm2" | "exec";
  /** Unless false, the RPC shows the chain as it is now, by this machine's clock. */
  isPresent?: boolean;
}

export interface Diagnosis {
  checks: Check[];
  proven: Proven;
  /** Could the node take a job right now? */
  ok: boolean;
}

/** Tries everything that this node needs, on this machine and on the chain. Never throws for what it finds. */
export async function diagnose(config: Config, context: Context): Promise<Diagnosis> {
  const machine = await machineChecks(config, context);
  const reach = tried("public address", "results that others can fetch", () => reachCheck(config.http, context));
  const chain = chainChecks(config, context);
  const others = [...accountChecks(config.images.registries), ...(await chain), await reach];
  const needed = machine.checks.filter(({ without }) => without === RUNNING_JOBS);
  const ok = machine.proven.containers && [...needed, ...others].every(({ status }) => status !== "fail");
  return { checks: [...machine.checks, ...others], proven: machine.proven, ok };
}

export interface MachineDiagnosis {
  checks: Check[];
  proven: Proven;
}

interface CheckOptions {
  reuse?: boolean;
  /** Gets the GPUs that are being tried, and none once that is over: no job may be given one of them meanwhile. */
  onGpus?: ((devices: readonly string[]) => void) | undefined;
}

/** The checks of this machine; those that passed under an hour ago in this boot are taken as they are when `reuse` is set. */
export async function machineChecks(
  config: Config,
  context: Context,
  { reuse = false, onGpus }: CheckOptions = {},
): Promise<MachineDiagnosis> {
  const file = join(config.dataDir, "checks.json");
  const { engine } = config;
  const about = JSON.stringify({
    engine,
    gpus: config.gpus,
    mesh: config.mesh.enabled,
    attestation: config.attestation,
  });
  if (reuse) {
    const known = readKnown(file);
    const isFresh = known?.bootId === bootId() && known.about === about && Date.now() - known.at < 3_600_000;
    if (isFresh && known.result.checks.every(({ status }) => status !== "fail")) return known.result;
  }
  mkdirSync(config.dataDir, { recursive: true, mode: 0o711 });
  // What the probes do to try the machine is no news.
  const quiet = {
    ...context,
    log: context.log.child({}, { level: context.log.isLevelEnabled("debug") ? "debug" : "warn" }),
  };
  const before = readKnown(file);
  const known = before?.about === about ? before.result.proven : undefined;
  const result = await checkMachine(config, known, { ...quiet, onGpus });
  writeFileSync(file, JSON.stringify({ bootId: bootId(), about, at: Date.now(), result }));
  return result;
}

/**
 * What a running node goes by: the checks of this machine, and whether it sees the chain's present. An RPC that does not
 * answer says nothing about that; the node's follower tells of it at once.
 */
export async function withHead(
  { checks, proven }: MachineDiagnosis,
  rpc: Rpc,
  context: Context,
): Promise<MachineDiagnosis> {
  const head = await headChecks(rpc, context).catch(() => []);
  context.signal.throwIfAborted();
  const isPresent = head.every(({ status }) => status !== "fail");
  return { checks: [...checks, ...head], proven: { ...proven, isPresent } };
}

/** @param before what an earlier check proved: it stays where this one finds out nothing either way */
async function checkMachine(
  config: Config,
  before: Proven | undefined,
  { onGpus, ...context }: Context & Pick<CheckOptions, "onGpus">,
): Promise<MachineDiagnosis> {
  const engine = await engineChecks(config, onGpus, context);
  const checks = engine.map((probe) => checkOf(probe, before));
  const containers = containersIn(engine, before?.containers ?? false);
  const gvisor = containers && engine.some(({ ok, capability }) => ok && capability === "gvisor");
  const gpus = containers ? gpusIn(engine, before?.gpus ?? []) : [];
  const proven: Proven = { containers, mesh: false, gvisor, gpus, attestation: "none" };
  if (config.mesh.enabled) {
    const mesh = await probeMesh(context.signal);
    checks.push(fromProbe(mesh, "mesh"));
    proven.mesh = mesh.ok;
  } else {
    checks.push({ name: "mesh", status: "warn", detail: "The mesh is off by configuration.", without: "mesh" });
  }
  const { attestation } = config;
  if (attestation.type !== "none") {
    const { available, detail, hint, type } = await probeAttester(attestation, context);
    checks.push(
      fromProbe(
        { name: `attestation ${type}`, ok: available, detail, ...(hint !== undefined && { fix: hint }) },
        "attested jobs",
      ),
    );
    if (available && (type === "tpm2" || type === "exec")) proven.attestation = type;
  }
  return { checks, proven };
}

/** Do the probes prove that jobs can be run? What was known `before` stays where one of them could not be tried. Pure. */
export function containersIn(probes: readonly Probe[], before: boolean): boolean {
  const fine = ({ ok, capability, isUntried = false }: Probe) =>
    ok || EXTRAS.includes(capability) || (isUntried && before);
  return probes.length > 0 && probes.every(fine);
}

/** The GPUs that the probes prove; of those that could not be tried just now, the ones known `before` stay. Pure. */
export function gpusIn(probes: readonly Probe[], before: readonly string[]): string[] {
  return probes.flatMap(({ ok, devices = [], isUntried }) => {
    if (ok) return devices;
    return isUntried ? devices.filter((device) => before.includes(device)) : [];
  });
}

async function engineChecks(config: Config, onGpus: CheckOptions["onGpus"], context: Context): Promise<Probe[]> {
  try {
    const { dataDir, engine, gpus, minFreeMiB } = config;
    return await runProbes({ dataDir, engine, gpus, onGpus, minFreeBytes: minFreeMiB * 2 ** 20 }, context);
  } catch (error) {
    context.signal.throwIfAborted();
    const { detail, fix } = failedBy("engine", error, RUNNING_JOBS);
    return [{ name: "engine", capability: "container", ok: false, detail, ...(fix !== undefined && { fix }) }];
  }
}

/** What a node can be without; how much of the disk is free, it looks at again before each offer and each job. */
const EXTRAS: readonly Capability[] = ["mesh", "gvisor", "gpu", "disk"];
const RUNNING_JOBS = "running jobs";

function checkOf(probe: Probe, before: Proven | undefined): Check {
  if (probe.capability === "mesh") return fromProbe(probe, "mesh");
  if (probe.capability === "gpu") {
    const check = fromProbe(probe, "jobs with GPUs");
    return probe.isUntried ? { ...check, status: "warn" } : check;
  }
  if (probe.capability !== "gvisor") {
    const check = fromProbe(probe, RUNNING_JOBS);
    return probe.isUntried && before?.containers ? { ...check, status: "warn" } : check;
  }
  // Most machines have no gVisor, and lack nothing for that.
  const check = fromProbe(probe, "jobs in gVisor");
  return probe.ok ? check : { ...check, status: "warn" };
}

function fromProbe({ name, ok, detail, fix }: Pick<Probe, "name" | "ok" | "detail" | "fix">, without: string): Check {
  if (ok) return passed(name, detail);
  return { name, status: "fail", detail, ...(fix !== undefined && { fix }), without };
}

/** The checks of the chain, the keys and the money. */
async function chainChecks(config: Config, context: Context): Promise<Check[]> {
  let access: ChainAccess;
  try {
    access = await connectChain(config, context);
  } catch (error) {
    context.signal.throwIfAborted();
    return [failedBy("chain", error, "everything")];
  }
  const { rpc, deployment } = access;
  const checks = [passed("chain", `chain ${rpc.chainId} answers, the market is at ${deployment.market}`)];
  checks.push(...(await triedAll("rpc", "being matched in time", () => headChecks(access.rpc, context))));
  let account: LocalAccount;
  try {
    account = readKey(keyFileOf(config), "hot key");
    need(config, "operator");
  } catch (error) {
    return [...checks, failedBy("keys", error, "offers")];
  }
  checks.push(await tried("gas", "submitting results", () => gasCheck(access, account)));
  checks.push(...(await triedAll("registration", "offers", () => registrationChecks(config, access, account))));
  return checks;
}

/** Is the chain that the RPC shows the present one, and this machine's clock right? */
async function headChecks(rpc: Rpc, { signal }: Context): Promise<Check[]> {
  const syncing = rpc.request("eth_syncing", [], { signal }).catch(unlessSilent);
  const [skew, answer] = await Promise.all([clockSkew(rpc, signal), syncing]);
  return [clockCheck(skew, rpc.chainId), syncCheck(answer)];
}

/** Some RPCs do not know the call. */
function unlessSilent(error: unknown): undefined {
  if (errorToJson(error).code === "RPC_UNAVAILABLE") throw error;
}

async function gasCheck({ rpc }: ChainAccess, { address }: LocalAccount): Promise<Check> {
  const balance = await rpc.client.getBalance({ address });
  const detail = `the hot key ${address} has ${formatEther(balance)} of the chain's coin`;
  if (balance >= LOW_BALANCE_WEI) return passed("gas", detail);
  const fix = `Send some of the chain's coin to ${address}; results are submitted from it.`;
  return { name: "gas", status: balance === 0n ? "fail" : "warn", detail, fix, without: "submitting results" };
}

async function registrationChecks(
  config: Config,
  { rpc, deployment }: ChainAccess,
  account: LocalAccount,
): Promise<Check[]> {
  const operator = need(config, "operator");
  const found = await readRegistration(rpc, deployment, { operator, index: config.index });
  const checks = [keyCheck(found, account, config)];
  const withoutToken = profilesOf(config.offers).filter(({ token }) => token === undefined);
  if (withoutToken.length === profilesOf(config.offers).length) {
    const fix = "Set offers.token to the ERC-20 that this node is paid in.";
    return [
      ...checks,
      { name: "offers", status: "fail", detail: "No token is set, so no offers are made.", fix, without: "offers" },
    ];
  }
  checks.push(limitsCheck(found, limitsFor(capacityOf(config), config.offers)));
  const accepted = acceptedBy(config.offers);
  checks.push(acceptedCheck(accepted, await readNotAccepted(rpc, deployment, { operator, what: accepted })));
  for (const { name } of withoutToken) {
    const fix = `Set offers.token, or offers.profiles.${name}.token.`;
    checks.push({ name: "offers", status: "warn", detail: `The profile ${name} has no token: no offers of it.`, fix });
  }
  const stakes = await stakeChecks(config.offers, (token) => readStake(rpc, deployment, { operator, token }));
  return [...checks, ...stakes];
}

function keyCheck(found: Registration, { address }: LocalAccount, config: Config): Check {
  const fix = "Run `berth-node register --operator-key-file FILE`.";
  const bad = (detail: string): Check => ({ name: "registration", status: "fail", detail, fix, without: "offers" });
  if (found.deactivated) return { ...bad("The operator's identity is deactivated."), fix: "Use another operator." };
  if (!isPublished(found)) return bad(`Node ${config.index} of ${config.operator} is not published.`);
  if (found.key !== address.toLowerCase())
    return bad(`The registry has the key ${found.key}, but this node's is ${address}.`);
  const days = Math.floor((found.validTo - Date.now() / 1000) / 86_400);
  if (days < 0) return bad("The published key has expired.");
  const detail = `published as node ${config.index}, key version ${found.keyVersion}, valid for ${days} days`;
  return days < KEY_DAYS_WARN ? { name: "registration", status: "warn", detail, fix } : passed("registration", detail);
}

function limitsCheck(found: Registration, wanted: NodeLimits): Check {
  if (areLimits(found.limits, wanted)) return passed("limits", "the operator's limits are those of the configuration");
  if (!hasLimits(found)) {
    const fix = "Run `berth-node register --operator-key-file FILE`.";
    return {
      name: "limits",
      status: "fail",
      detail: "The operator has set no limits for this node.",
      fix,
      without: "being matched",
    };
  }
  return {
    name: "limits",
    status: "warn",
    detail: "The operator's limits differ from what the configuration offers; matches outside them are refused.",
    fix: "Run `berth-node register --operator-key-file FILE` again if the configuration changed.",
  };
}

function acceptedCheck(wanted: readonly string[], missing: readonly string[]): Check {
  if (missing.length === 0) return passed("accepted", `the operator accepts ${wanted.join(", ")}`);
  const detail = `The operator does not accept ${missing.join(", ")} yet.`;
  const fix = "Run `berth-node register --operator-key-file FILE`.";
  return { name: "accepted", status: "fail", detail, fix, without: "being matched" };
}

/** What all jobs together may use: as configured, or measured once and kept, so that offers and limits agree. */
export function capacityOf(config: Config): Capacity {
  return { ...ownCapacity(config), gpus: provenGpus(config) };
}

/** How many GPUs the newest checks proved. */
function provenGpus({ dataDir, gpus }: Config): number {
  if (gpus.devices.length === 0) return 0;
  return readKnown(join(dataDir, "checks.json"))?.result.proven.gpus?.length ?? 0;
}

function ownCapacity(config: Config): Omit<Capacity, "gpus"> {
  if (config.offers.capacity !== undefined) return config.offers.capacity;
  const { engine } = config;
  const file = join(
    config.dataDir,
    engine.type === "slurm" ? `capacity-${engine.slurm.partition}.json` : "capacity.json",
  );
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as Omit<Capacity, "gpus">;
  mkdirSync(config.dataDir, { recursive: true, mode: 0o711 });
  const machine = defaultCapacity({
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    freeDiskBytes: freeBytesOf(engine.type === "slurm" ? engine.slurm.sharedDir : config.dataDir),
  });
  const measured = engine.type === "slurm" ? { ...machine, ...clusterCapacity(engine.slurm) } : machine;
  writeFileSync(file, `${JSON.stringify(measured)}\n`);
  return measured;
}

function clusterCapacity(slurm: SlurmConfig): Pick<Capacity, "cpuMilli" | "memoryMiB"> {
  const { cpuMilli, memoryMiB } = measurePartition(slurm);
  return { cpuMilli, memoryMiB };
}

async function tried(name: string, without: string, check: () => Promise<Check>): Promise<Check> {
  return await check().catch((error: unknown) => failedBy(name, error, without));
}

async function triedAll(name: string, without: string, check: () => Promise<Check[]>): Promise<Check[]> {
  return await check().catch((error: unknown) => [failedBy(name, error, without)]);
}

function readKnown(file: string): { bootId: string; about: string; at: number; result: MachineDiagnosis } | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
