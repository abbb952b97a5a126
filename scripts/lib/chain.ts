import { join } from "node:path";
import { type Deployment, MarketError, parseDeployment } from "@berth/protocol";
import { execa } from "execa";
import { type Child, startChild, untilReady } from "./children.ts";
import type { RunLedger } from "./run-ledger.ts";

const root = join(import.meta.dirname, "..", "..");

/** A running local chain with the contracts deployed. */
export interface LocalChain {
  child: Child;
  /** On 127.0.0.1. */
  rpcUrl: string;
  port: number;
  deployment: Deployment;
}

/** Hardhat reads its TypeScript through tsx, which would leave a cache in the machine's temporary folder. */
const noCache = { TSX_DISABLE_CACHE: "1" };

/** Compiles the contracts. One run at a time per checkout; nothing to do when they are compiled already. */
export async function buildContracts(): Promise<void> {
  const hardhat = join(root, "node_modules", "hardhat", "dist", "src", "cli.js");
  const lock = join(root, ".tools", "build.lock");
  const args = [lock, process.execPath, hardhat, "build", "--quiet", "--no-tests"];
  const { exitCode, all } = await execa("flock", args, { cwd: root, env: noCache, all: true, reject: false });
  if (exitCode !== 0) throw new MarketError("BUILD_FAILED", `The contracts do not compile.\n${all}`);
}

/** Starts a Hardhat node on 127.0.0.1 that mines a block every `blockMs`, and deploys the market. */
export async function startChain(
  ledger: RunLedger,
  { port, blockMs }: { port: number; blockMs: number },
): Promise<LocalChain> {
  const child = await startChild(ledger, {
    what: "chain",
    file: process.execPath,
    args: [join(import.meta.dirname, "chain-main.ts"), ledger.id, String(port), String(blockMs)],
    logFile: join(ledger.folder, "chain.log"),
    env: noCache,
    ipc: true,
  });
  const message = await untilReady(
    child,
    new Promise<{ rpcUrl: string; deployment: unknown } | { error: string }>((resolve) =>
      child.process.once("message", resolve),
    ),
  );
  if ("error" in message) throw new MarketError("CHAIN_FAILED", `The local chain did not start: ${message.error}`);
  const rpcUrl = message.rpcUrl;
  return { child, rpcUrl, port: Number(new URL(rpcUrl).port), deployment: parseDeployment(message.deployment) };
}
