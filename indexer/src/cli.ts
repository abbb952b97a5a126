import { errorToJson, parseWith, toJson } from "@berth/protocol";
import { Command } from "commander";
import { pino } from "pino";
import { z } from "zod";
import { type Flags, readConfig } from "./config.ts";
import { auditTransaction, sentencesOf } from "./fairness/audit-transaction.ts";
import { startIndexer } from "./indexer.ts";
import { announceIndexer } from "./peers/announce.ts";

const program = new Command("berth-indexer")
  .description("Follows the market's contracts into tables, answers questions about them, and matches orders.")
  .showHelpAfterError();

program
  .command("start")
  .description("start following, serving and, with a matcher key, matching")
  .option("--deployment <file>", "deployment record (BERTH_DEPLOYMENT)")
  .option("--rpc <url...>", "RPC of the chain; several for fail-over (BERTH_RPC_URL, separated by commas)")
  .option(
    "--data <folder>",
    "folder of the embedded database (BERTH_INDEXER_DATA; DATABASE_URL names a server instead)",
  )
  .option("--host <address>", "address to listen on (BERTH_INDEXER_HOST)")
  .option("--port <number>", "port to listen on, 0 for any (BERTH_INDEXER_PORT)")
  .option(
    "--role <role>",
    "beside others on one server: auto leads when nobody else does, replica never (BERTH_ROLE; auto)",
  )
  .option("--matcher-key-file <file>", "private key of the account that sends matches (BERTH_MATCHER_KEY_FILE)")
  .option("--tip-worth <token=wei...>", "wei of gas that one token unit of a tip pays for (BERTH_TIP_WORTH)")
  .option("--given-gas <wei>", "gas a day for matches that their tips do not pay for (BERTH_GIVEN_GAS; one coin)")
  .option("--lost-gas <wei>", "gas a day for matches that fail on chain (BERTH_LOST_GAS; a tenth of a coin)")
  .option("--daily-gas <wei>", "gas a day in all; what would exceed it waits (BERTH_DAILY_GAS; no limit)")
  .option("--confirmations <blocks>", "blocks on top of a block before it is indexed (BERTH_CONFIRMATIONS)")
  .option("--finality <blocks>", "blocks on top of a match before it is final (BERTH_FINALITY)")
  .option("--poll-ms <milliseconds>", "wait between looks at the chain's head (BERTH_POLL_MS)")
  .option("--peer <url...>", "other indexers to read orders from (BERTH_PEERS, separated by commas)")
  .option(
    "--allow-private-peers",
    "also follow indexers in private networks that others name (BERTH_ALLOW_PRIVATE_PEERS)",
  )
  .option("--offers-per-operator <number>", "open offers of one operator with stake (BERTH_OFFERS_PER_OPERATOR; 4096)")
  .option("--requests-per-payer <number>", "open requests of one payer with money (BERTH_REQUESTS_PER_PAYER; 200)")
  .option("--offer-seconds <seconds>", "longest time that an offer may have left (BERTH_OFFER_SECONDS; 7 days)")
  .option("--request-seconds <seconds>", "longest time that a request may be open (BERTH_REQUEST_SECONDS; 30 days)")
  .option("--json", "print one line of JSON on standard output instead of text")
  .action(start);

program
  .command("audit")
  .description("decide a matcher's transaction again over what it says that it saw: did it skip a cheaper offer?")
  .argument("<transaction>", "hash of the transaction")
  .requiredOption("--rpc <url>", "RPC of the chain")
  .requiredOption("--indexer <url>", "the indexer whose matcher sent it")
  .option("--json", "print the verdict with its proofs as JSON")
  .action(auditOne);

program
  .command("announce")
  .description("say in the registry where an indexer answers, so that others read its orders; one transaction")
  .argument("<url>", "its http or https URL")
  .option("--deployment <file>", "deployment record (BERTH_DEPLOYMENT)")
  .option("--rpc <url...>", "RPC of the chain (BERTH_RPC_URL, separated by commas)")
  .requiredOption("--key-file <file>", "private key of any account with gas; its stake puts it before others")
  .option("--days <number>", "how long it counts; 0 takes it back", "365")
  .option("--json", "print one line of JSON on standard output instead of text")
  .action(announce);

await program.parseAsync();

async function announce(url: string, flags: Flags & { keyFile: string; days: string; json?: boolean }): Promise<void> {
  const log = pino({ level: process.env["LOG_LEVEL"] ?? "silent" }, pino.destination(2));
  try {
    const { keyFile, days, json: _, ...rest } = flags;
    const config = await readConfig({ ...rest, matcherKeyFile: keyFile }, process.env);
    const seconds = parseWith(z.coerce.number().int().min(0).max(3650), days, {
      code: "CONFIG_INVALID",
      what: "--days",
    });
    const options = { url, seconds: seconds * 24 * 3600, log, signal: new AbortController().signal };
    const transaction = await announceIndexer(config, options);
    console.log(flags.json ? JSON.stringify({ transaction }) : `Announced in transaction ${transaction}`);
  } catch (error) {
    fail(error, flags.json === true);
  }
}

/** Exit code 0: fair, 1: an offer was skipped, 2: nothing can be said. */
async function auditOne(transaction: string, flags: { rpc: string; indexer: string; json?: boolean }): Promise<void> {
  const log = pino({ level: process.env["LOG_LEVEL"] ?? "silent" }, pino.destination(2));
  try {
    const places = { transaction, rpcUrl: flags.rpc, indexerUrl: flags.indexer };
    const verdict = await auditTransaction({ ...places, log, signal: new AbortController().signal });
    console.log(flags.json ? toJson(verdict) : sentencesOf(verdict).join("\n"));
    if (verdict.findings.length > 0) process.exitCode = 1;
  } catch (error) {
    fail(error, flags.json === true);
    process.exitCode = 2;
  }
}

async function start(flags: Flags & { json?: boolean }): Promise<void> {
  const log = pino({ level: process.env["LOG_LEVEL"] ?? "info" }, pino.destination(2));
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => stop.abort());
  // A parent that started this over a channel is gone when the channel is.
  process.once("disconnect", () => stop.abort());
  try {
    const indexer = await startIndexer(await readConfig(flags, process.env), { signal: stop.signal, log });
    console.log(flags.json ? JSON.stringify({ url: indexer.url }) : `Indexer at ${indexer.url}`);
    await indexer.done;
  } catch (error) {
    if (stop.signal.aborted) return;
    fail(error, flags.json === true);
  } finally {
    if (process.connected) process.disconnect();
  }
}

function fail(error: unknown, json: boolean): void {
  const { code, message, hint, retryable } = errorToJson(error);
  if (json) console.log(JSON.stringify({ error: { code, message, hint, retryable } }));
  else console.error(hint === undefined ? `${message} (${code})` : `${message} (${code})\n${hint}`);
  process.exitCode = 1;
}
