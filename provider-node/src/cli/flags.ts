import type { Command } from "commander";
import type { ConfigSources } from "../config.ts";
import { invalid, several } from "./arguments.ts";

/** Flags that every command takes. */
interface GlobalFlags {
  config?: string;
  dataDir?: string;
  rpc?: string[];
  deployment?: string;
  operator?: string;
  index?: string;
  runId?: string;
  host?: string;
  port?: string;
  publicUrl?: string;
  indexer?: string[];
  token?: string;
  logLevel?: string;
  set?: string[];
  json?: boolean;
}

export function addGlobalFlags(program: Command): Command {
  return program
    .option("--config <file>", "settings as YAML or JSON; default: config.yaml in the data folder")
    .option("--data-dir <dir>", "everything the node keeps")
    .option("--rpc <url>", "RPC of the chain; repeat it for fail-over", several)
    .option("--deployment <file>", "where the market lives")
    .option("--operator <address>", "who owns this node")
    .option("--index <number>", "which of the operator's nodes this is")
    .option("--run-id <id>", "part of the name of every container and interface")
    .option("--host <address>", "address to listen on")
    .option("--port <number>", "port to listen on; 0 takes a free one")
    .option("--public-url <url>", "how others reach this node")
    .option("--indexer <url>", "an indexer to offer to; repeat it for more", several)
    .option("--token <address>", "ERC-20 that the node is paid in")
    .option("--log-level <level>", "silent, error, warn, info or debug")
    .option("--set <path=value>", "any other setting, like offers.baseCharge=1000; repeat it for more", several)
    .option("--json", "answers as one JSON document");
}

/** Where the settings of this call come from. Throws FLAG_INVALID. */
export function sourcesOf(command: Command): ConfigSources {
  const flags = command.optsWithGlobals<GlobalFlags>();
  const nested: Record<string, unknown> = {
    dataDir: flags.dataDir,
    rpcUrls: flags.rpc,
    deploymentFile: flags.deployment,
    operator: flags.operator,
    index: flags.index,
    runId: flags.runId,
    indexers: flags.indexer,
    logLevel: flags.logLevel,
    http: { host: flags.host, port: flags.port, publicUrl: flags.publicUrl },
    offers: { token: flags.token },
  };
  for (const item of flags.set ?? []) {
    const [, path, value] = /^([A-Za-z0-9.]+)=(.*)$/s.exec(item) ?? [];
    if (path === undefined) throw invalid("--set", item, "path=value, like offers.baseCharge=1000");
    const keys = path.split(".");
    const last = keys.pop() as string;
    let at = nested;
    for (const key of keys) {
      at[key] ??= {};
      at = at[key] as Record<string, unknown>;
    }
    at[last] = value;
  }
  return { flags: nested, env: process.env, file: flags.config, cwd: process.cwd() };
}

export function wantsJson(command: Command): boolean {
  return command.optsWithGlobals<GlobalFlags>().json === true;
}
