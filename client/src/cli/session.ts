import { createKuboStore, openEmbeddedStore } from "@berth/content";
import type { Command } from "commander";
import { pino } from "pino";
import { type Client, type Context, createClient } from "../client.ts";
import { type Config, loadConfig, readDeployment, readTrust, type Settings } from "../config.ts";
import type { TrustAnchors } from "../evidence/verify-evidence.ts";
import type { ProgressEvent } from "../progress.ts";
import { walletFromKeyFile } from "../wallet.ts";
import { progressPrinter } from "./output.ts";

/** Flags that every command takes. */
export interface GlobalFlags {
  config?: string;
  rpc?: string;
  indexer?: string;
  deployment?: string;
  keyFile?: string;
  contentDir?: string;
  contentHost?: string;
  contentPort?: string;
  contentUrl?: string;
  contentGateway?: string;
  kubo?: string;
  tpmAuthority?: string;
  token?: string;
  json?: boolean;
  quiet?: boolean;
  verbose?: boolean;
}

/** What a command works with. */
export interface Session {
  client: Client;
  config: Config;
  trust: TrustAnchors;
  context: { signal: AbortSignal; onProgress: NonNullable<Context["onProgress"]> };
}

/** Adds the flags of `GlobalFlags` to the program. */
export function addGlobalFlags(program: Command): Command {
  return program
    .option("--config <file>", "YAML file of settings (BERTH_CONFIG)")
    .option("--rpc <urls>", "RPC of the chain, several with commas (BERTH_RPC_URL)")
    .option("--deployment <file>", "where the market lives (BERTH_DEPLOYMENT)")
    .option("--indexer <url>", "indexer with offers and matching (BERTH_INDEXER)")
    .option("--key-file <file>", "private key that pays and signs; reading needs none (BERTH_KEY_FILE)")
    .option("--content-dir <dir>", "where content is kept (BERTH_CONTENT_DIR)")
    .option("--content-host <address>", "address that content is served on (BERTH_CONTENT_HOST)")
    .option("--content-port <port>", "port for it; 0 takes a free one (BERTH_CONTENT_PORT)")
    .option("--content-url <url>", "how nodes reach it (BERTH_CONTENT_URL)")
    .option("--content-gateway <urls>", "more gateways to ask for content (BERTH_CONTENT_GATEWAYS)")
    .option("--kubo <url>", "keep content in the Kubo daemon at this RPC (BERTH_KUBO)")
    .option("--tpm-authority <file>", "whom to believe about TPMs (BERTH_TPM_AUTHORITIES)")
    .option("--token <symbol or address>", "token to pay with (BERTH_TOKEN)")
    .option("--json", "print one JSON document")
    .option("--quiet", "print no progress")
    .option("--verbose", "write a log to stderr");
}

/** The configuration that these flags and this environment make. */
function configOf(flags: GlobalFlags): Config {
  const settings: Settings = {
    rpcUrls: flags.rpc,
    indexerUrl: flags.indexer,
    deploymentFile: flags.deployment,
    keyFile: flags.keyFile,
    contentDir: flags.contentDir,
    contentHost: flags.contentHost,
    contentPort: flags.contentPort,
    contentUrl: flags.contentUrl,
    contentGateways: flags.contentGateway,
    kuboUrl: flags.kubo,
    tpmAuthoritiesFile: flags.tpmAuthority,
    token: flags.token,
    logLevel: flags.verbose === true ? "debug" : undefined,
  };
  return loadConfig({ flags: settings, env: process.env, file: flags.config, cwd: process.cwd() });
}

/** Opens what a command needs, runs it, and closes everything whatever happens. A key is read only `withKey`. */
export async function withSession<T>(
  flags: GlobalFlags,
  {
    withKey,
    signal,
    onProgress,
  }: { withKey: boolean; signal: AbortSignal; onProgress?: (event: ProgressEvent) => void },
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const config = configOf(flags);
  const deployment = readDeployment(config);
  const trust = readTrust(config);
  const wallet = withKey && config.keyFile !== undefined ? await walletFromKeyFile(config.keyFile) : undefined;
  const { kuboUrl, contentDir: dir } = config;
  const store = kuboUrl === undefined ? await openEmbeddedStore({ dir }) : await createKuboStore({ url: kuboUrl, dir });
  try {
    const log = pino({ level: config.logLevel, base: null }, pino.destination({ fd: 2, sync: true }));
    const { rpcUrls, indexerUrl, contentGateways, pollMs } = config;
    const client = await createClient({
      rpcUrls,
      indexerUrl,
      deployment,
      wallet,
      store,
      contentGateways,
      log,
      pollMs,
      signal,
    });
    const print = progressPrinter(flags.quiet === true);
    const progress = (event: ProgressEvent) => {
      print(event);
      onProgress?.(event);
    };
    return await work({ client, config, trust, context: { signal, onProgress: progress } });
  } finally {
    await store.close();
  }
}
