import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import type { Hex } from "@berth/protocol";
import { type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";

/** A private chain on a free loopback port. */
export interface Anvil {
  url: string;
  pid: number;
  /** Funded accounts, always the same ones. */
  accounts: readonly [PrivateKeyAccount, PrivateKeyAccount, PrivateKeyAccount, ...PrivateKeyAccount[]];
  /** One raw JSON-RPC call, straight to the chain. Throws its error. */
  // biome-ignore lint/suspicious/noExplicitAny: answers of a test chain, asserted by the test
  call(method: string, params?: readonly unknown[]): Promise<any>;
  stop(): Promise<void>;
}

export interface AnvilOptions {
  chainId?: number;
  /** Mine only when told to; else a block per transaction. */
  noMining?: boolean;
}

/** Keys of the mnemonic "test test … junk" that development chains fund. Worthless anywhere else. */
const KEYS: readonly [Hex, Hex, Hex] = [
  "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
  "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
  "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/** Starts anvil and waits until it listens. The caller stops it, whatever happens. */
export async function startAnvil({ chainId = 31337, noMining = false }: AnvilOptions = {}): Promise<Anvil> {
  const args = ["--host", "127.0.0.1", "--port", "0", "--chain-id", String(chainId)];
  if (noMining) args.push("--no-mining");
  const child = spawn(anvilBinary(), args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  let port: string | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    port = /Listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port !== undefined) break;
  }
  child.stdout.resume();
  if (port === undefined || child.pid === undefined) throw new Error("anvil ended before it listened");
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    pid: child.pid,
    accounts: [privateKeyToAccount(KEYS[0]), privateKeyToAccount(KEYS[1]), privateKeyToAccount(KEYS[2])],
    call: (method, params = []) => call(url, method, params),
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

async function call(url: string, method: string, params: readonly unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { result, error } = (await response.json()) as { result?: unknown; error?: { message: string } };
  if (error !== undefined) throw new Error(`${method}: ${error.message}`);
  return result;
}

function anvilBinary(): string {
  const arch = process.arch === "x64" ? "amd64" : process.arch;
  return createRequire(import.meta.url).resolve(`@foundry-rs/anvil-${process.platform}-${arch}/bin/anvil`);
}
