import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Deployment, Hex } from "@berth/protocol";
import { execa } from "execa";
import { stringify } from "yaml";
import { tpm2ConfigSchema } from "../../provider-node/src/attest/index.ts";
import type { OpenAccount } from "./accounts.ts";
import { type Child, startChild, untilReady } from "./children.ts";
import type { Host } from "./network.ts";
import { processRef } from "./processes.ts";
import type { RunLedger } from "./run-ledger.ts";
import { startSwtpm } from "./swtpm.ts";
import type { TpmAuthority } from "./tpm-authority.ts";
import { enrolNode } from "./tpm-enrol.ts";
import { waitForHttp } from "./wait.ts";

const main = join(import.meta.dirname, "..", "..", "provider-node", "src", "main.ts");
const HTTP_PORT = 4080;
const WIREGUARD_PORT = 51_820;
const DAY_SECONDS = 86_400;

/** What a devnet's node is made of. */
export interface NodePlan {
  number: number;
  host: Host;
  operator: OpenAccount;
  deployment: Deployment;
  deploymentFile: string;
  rpcUrl: string;
  indexerUrl: string;
  /** Token units per thousandth of a core and second, scaled by 1e18. */
  cpuRateX18: bigint;
  mesh: boolean;
  /** Absent: no attestation. */
  authority: TpmAuthority | undefined;
}

/** A provider node of the devnet, in a namespace of its own. */
export interface DevnetNode extends NodePlan {
  dataDir: string;
  configFile: string;
  url: string;
  hotKey: Hex;
  /** Runs a command of `berth-node` on the node's host. Throws with its words when it fails. */
  command(...args: string[]): Promise<string>;
  start(): Promise<Child>;
}

/** Makes a node's configuration, keys and software TPM. It is neither registered nor started yet. */
export async function prepareNode(ledger: RunLedger, plan: NodePlan): Promise<DevnetNode> {
  const dataDir = join(ledger.folder, `node${plan.number}`);
  const configFile = join(dataDir, "config.yaml");
  const url = `http://${plan.host.address}:${HTTP_PORT}`;
  ledger.record({ kind: "node-data", folder: dataDir });
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const attestation = plan.authority ? await prepareTpm(ledger, plan, plan.authority) : { type: "none" };
  await writeFile(configFile, stringify(configOf(ledger.id, plan, { dataDir, url, attestation })));
  const inHost = (args: string[]) => [
    `--net=/run/netns/${plan.host.namespace}`,
    process.execPath,
    main,
    "--config",
    configFile,
    ...args,
  ];
  const command = async (...args: string[]) => (await execa("nsenter", inHost(args))).stdout;
  const { key: hotKey } = JSON.parse(await command("init", "--json")) as { key: Hex };
  const start = async () => {
    const what = `node ${plan.number}`;
    const logFile = join(ledger.folder, `node${plan.number}.log`);
    const child = await startChild(ledger, { what, file: "nsenter", args: inHost(["start"]), logFile, ipc: true });
    await untilReady(child, waitForHttp(`${url}/ready`));
    return child;
  };
  return { ...plan, dataDir, configFile, url, hotKey, command, start };
}

function configOf(runId: string, plan: NodePlan, made: { dataDir: string; url: string; attestation: object }) {
  const [token] = plan.deployment.tokens;
  return {
    dataDir: made.dataDir,
    runId: `${runId}${plan.number}`,
    rpcUrls: [plan.rpcUrl],
    deploymentFile: plan.deploymentFile,
    operator: plan.operator.address,
    index: 0,
    indexers: [plan.indexerUrl],
    content: { allowPrivateSources: true },
    http: { host: plan.host.address, port: HTTP_PORT, publicUrl: made.url },
    mesh: {
      enabled: plan.mesh,
      listenPort: WIREGUARD_PORT,
      endpoint: `${plan.host.address}:${WIREGUARD_PORT}`,
      allowPrivateEndpoints: true,
    },
    attestation: made.attestation,
    offers: {
      token: token?.address,
      cpuRateX18: String(plan.cpuRateX18),
      memoryRateX18: String(10n ** 15n),
      diskRateX18: String(10n ** 14n),
      baseCharge: "100",
      capacity: { cpuMilli: 2000, memoryMiB: 2048, diskMiB: 2048 },
      maxSeconds: 3600,
      minSubmitMargin: 30,
      maxSettleSeconds: 7 * DAY_SECONDS,
      maxBond: "10000000",
      maxCompensationBps: 1000,
      ttlSeconds: 600,
      refreshSeconds: 5,
    },
    confirmations: 1,
    pollMs: 200,
  };
}

/** A software TPM with an endorsed attestation key. It stands for hardware, and every verdict on it says so. */
async function prepareTpm(ledger: RunLedger, plan: NodePlan, authority: TpmAuthority) {
  const dir = await mkdtemp(join(tmpdir(), "berth-tpm-"));
  ledger.record({ kind: "folder", folder: dir });
  const log = { info: () => {} };
  const tpm = await startSwtpm({ dir, log });
  const ref = processRef(tpm.pid);
  if (ref) ledger.record({ kind: "process", what: `TPM of node ${plan.number}`, process: ref });
  const config = { type: "tpm2" as const, tcti: tpm.tcti, stateDir: join(dir, "node") };
  const day = { now: new Date(), validSeconds: DAY_SECONDS };
  const terms = {
    operator: plan.operator.address,
    nodeIndex: 0,
    ekCas: tpm.ekCaCerts,
    kind: "software" as const,
    ...day,
  };
  await enrolNode(authority, tpm2ConfigSchema.parse(config), terms, { log: silent });
  return config;
}

const silent = { info: () => {}, warn: () => {}, error: () => {}, debug: () => {} } as never;
