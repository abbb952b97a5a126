#!/usr/bin/env node
import { MarketError, uintSchema } from "@berth/protocol";
import { Command, CommanderError } from "commander";
import { clean } from "./commands/clean.ts";
import { init } from "./commands/init.ts";
import { checkTable, printAnswer, printError } from "./commands/print.ts";
import { register } from "./commands/register.ts";
import { stake } from "./commands/stake.ts";
import { start } from "./commands/start.ts";
import { status } from "./commands/status.ts";
import { type Config, loadConfig } from "./config.ts";
import { diagnose } from "./jobs/doctor.ts";
import { type Context, createLog } from "./log.ts";

interface Flags {
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

const stopping = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.once(name, () => stopping.abort(new MarketError("STOPPED", `Stopped by ${name}.`)));
}

const program = new Command("berth-node")
  .description("Runs jobs of the Berth market on this machine.")
  .option("--config <file>", "settings as YAML or JSON; default: config.yaml in the data folder")
  .option("--data-dir <dir>", "everything the node keeps")
  .option("--rpc <url>", "RPC of the chain; repeat it for fail-over", collect)
  .option("--deployment <file>", "where the market lives")
  .option("--operator <address>", "who owns this node")
  .option("--index <number>", "which of the operator's nodes this is")
  .option("--run-id <id>", "part of the name of every container and interface")
  .option("--host <address>", "address to listen on")
  .option("--port <number>", "port to listen on; 0 takes a free one")
  .option("--public-url <url>", "how others reach this node")
  .option("--indexer <url>", "an indexer to offer to; repeat it for more", collect)
  .option("--token <address>", "ERC-20 that the node is paid in")
  .option("--log-level <level>", "silent, error, warn, info or debug")
  .option("--set <path=value>", "any other setting, like offers.baseCharge=1000; repeat it for more", collect)
  .option("--json", "answers as JSON")
  .showHelpAfterError()
  .exitOverride();

program
  .command("init")
  .description("make the data folder, the keys and a configuration file")
  .action(async () => {
    const answer = await init(read());
    const lines = [
      ["data folder", answer.dataDir],
      ["configuration", answer.configFile],
      ["hot key (needs gas)", answer.key],
      ["WireGuard key", answer.wgKey],
    ] as const;
    printAnswer(answer, { json: json(), lines });
  });

program
  .command("doctor")
  .description("try everything this node needs, and say what to do about the rest")
  .action(async () => {
    const config = read();
    const diagnosis = await diagnose(config, context(config, "warn"));
    if (json()) printAnswer(diagnosis, { json: true, lines: [] });
    else process.stdout.write(checkTable(diagnosis.checks));
    process.exitCode = diagnosis.ok ? 0 : 1;
  });

program
  .command("register")
  .description("publish this node's keys and limits with the operator's key")
  .requiredOption("--operator-key-file <file>", "the operator's private key")
  .option("--valid-days <days>", "how long the hot key counts", "180")
  .action(async ({ operatorKeyFile, validDays }: { operatorKeyFile: string; validDays: string }) => {
    const config = read();
    const days = whole(validDays, "--valid-days");
    const answer = await register(config, { operatorKeyFile, validDays: days }, context(config, "warn"));
    const lines = [
      ["DID", answer.did],
      ["node", String(answer.index)],
      ["hot key", answer.key],
      ["content", answer.contentUrl],
      ...answer.transactions.map(({ what, hash }) => [what, hash] as const),
    ] as const;
    printAnswer(answer, { json: json(), lines });
  });

program
  .command("stake")
  .description("add token units to the operator's stake")
  .argument("<amount>", "token units")
  .requiredOption("--operator-key-file <file>", "the operator's private key")
  .action(async (text: string, { operatorKeyFile }: { operatorKeyFile: string }) => {
    const config = read();
    const amount = uintSchema(128).safeParse(text);
    if (!amount.success || amount.data === 0n)
      throw invalid("AMOUNT", text, "a whole number of token units above zero");
    const answer = await stake(config, { amount: amount.data, operatorKeyFile }, context(config, "warn"));
    const lines = [
      ["operator", answer.operator],
      ["free stake", answer.free],
      ["locked stake", answer.locked],
    ] as const;
    printAnswer(answer, { json: json(), lines });
  });

program
  .command("start")
  .description("run the node")
  .action(async () => {
    const config = read();
    await start(config, (facts) => printAnswer({ ready: true, ...facts }, { json: true, lines: [] }), context(config));
  });

program
  .command("status")
  .description("what the node's journal says")
  .action(() => {
    const answer = status(read());
    const lines = [
      ["running", answer.running ? "yes" : "no"],
      ["block", String(answer.block ?? "none yet")],
      ["transactions under way", String(answer.transactions)],
      ...answer.jobs.map((job) => [`${job.jobId.slice(0, 12)}…/${job.replica}`, describe(job)] as const),
    ] as const;
    printAnswer(answer, { json: json(), lines });
  });

program
  .command("clean")
  .description("take away the containers and interfaces of a stopped node; keys, journal and content stay")
  .action(async () => {
    const config = read();
    const answer = await clean(config, context(config, "warn"));
    printAnswer(answer, { json: json(), lines: [["removed", answer.removed.join(", ") || "nothing"]] });
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else if (stopping.signal.aborted) process.exitCode = 130;
  else {
    printError(error, { json: json() });
    process.exitCode = 1;
  }
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

function read(): Config {
  const flags = program.opts<Flags>();
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
  return loadConfig({ flags: nested, env: process.env, file: flags.config, cwd: process.cwd() });
}

/** Commands that answer keep quiet unless something is wrong; the daemon tells what it does. */
function context(config: Config, quietest: "info" | "warn" = "info"): Context {
  const level = quietest === "warn" && config.logLevel === "info" ? "warn" : config.logLevel;
  return { signal: stopping.signal, log: createLog(level) };
}

function json(): boolean {
  return program.opts<Flags>().json === true;
}

function describe({ phase, chain, outcome, message }: ReturnType<typeof status>["jobs"][number]): string {
  return [phase, `chain: ${chain}`, outcome, message].filter((part) => part !== null && part !== "").join(", ");
}

function whole(text: string, flag: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw invalid(flag, text, "a whole number above zero");
}

function invalid(flag: string, value: string, what: string): MarketError {
  return new MarketError("FLAG_INVALID", `${flag} is "${value}", but must be ${what}.`);
}
