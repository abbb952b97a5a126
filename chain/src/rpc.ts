import { type Address, MarketError } from "@berth/protocol";
import type { Logger } from "pino";
import { createPublicClient, custom, type PublicClient, type RpcRequestError } from "viem";
import { postJsonRpc, type RpcCall, type RpcOutcome } from "./endpoint.ts";
import { isTransportFault, rpcInconsistent, rpcUnavailable, toMarketError } from "./errors.ts";
import { quantity } from "./parse.ts";

/** One chain, behind one or several RPC URLs. A failing or empty answer is never taken for "gone". */
export interface Rpc {
  readonly chainId: number;
  /** viem's reading client over the same fail-over: `rpc.client.readContract(…)`. Throws viem's errors. */
  readonly client: PublicClient;
  /** One call. Throws the RPC's own error, or `RPC_UNAVAILABLE` when no URL answers. May return null. */
  request(method: string, params?: readonly unknown[], options?: CallOptions): Promise<unknown>;
  /** Many calls, batched on the wire, outcomes in order. Throws `RPC_UNAVAILABLE` when no URL answers. */
  requestMany(calls: readonly RpcCall[], options?: CallOptions): Promise<RpcOutcome[]>;
  /** Throws `NOT_DEPLOYED` unless every address has code. */
  assertDeployed(
    addresses: readonly Address[] | Readonly<Record<string, Address>>,
    options?: CallOptions,
  ): Promise<void>;
  /** Ask the next URL first from now on, because the present one seems stale. */
  rotate(): void;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface RpcOptions {
  /** Tried in this order; the one that answered last is asked first. */
  urls: readonly string[];
  expectedChainId?: number;
  log: Logger;
  signal?: AbortSignal;
  /** Called with the host of a URL that did not answer, or not sensibly. */
  onFailure?: ((host: string) => void) | undefined;
  /** For one HTTP exchange, body included. */
  timeoutMs?: number;
  maxResponseBytes?: number;
}

const BATCH = 100;

interface Endpoint {
  readonly url: string;
  readonly host: string;
  /** Has it said which chain it serves since it last failed? */
  checked: boolean;
}

/**
 * Connects and checks the chain id of every URL that answers. Throws `WRONG_CHAIN`, or `RPC_UNAVAILABLE` when none
 * answers. A URL that was down is checked when it is first used, and skipped while it serves another chain.
 */
export async function connectRpc({
  urls,
  expectedChainId,
  log,
  signal,
  onFailure,
  timeoutMs = 20_000,
  maxResponseBytes = 64 * 1024 * 1024,
}: RpcOptions): Promise<Rpc> {
  const endpoints = urls.map((url): Endpoint => ({ url, host: hostOf(url), checked: false }));
  if (endpoints.length === 0) {
    throw new MarketError("RPC_MISSING", "No RPC URL is given.", {
      hint: "Name at least one, like http://127.0.0.1:8545.",
    });
  }
  let first = 0;
  let chainId = expectedChainId;

  const post = (endpoint: Endpoint, calls: readonly RpcCall[], callSignal?: AbortSignal) =>
    postJsonRpc(endpoint.url, calls, { signal: callSignal, timeoutMs, maxResponseBytes });

  async function check(endpoint: Endpoint, callSignal?: AbortSignal): Promise<void> {
    const [outcome] = await post(endpoint, [{ method: "eth_chainId" }], callSignal);
    if (outcome === undefined || "error" in outcome) throw outcome?.error ?? rpcInconsistent("No chain id came back.");
    const actual = quantity(outcome.result, "chain id");
    chainId ??= actual;
    if (actual !== chainId) throw wrongChain(endpoint.host, chainId, actual);
    endpoint.checked = true;
  }

  async function send(calls: readonly RpcCall[], callSignal?: AbortSignal): Promise<RpcOutcome[]> {
    const start = first;
    let failure: unknown;
    for (let i = 0; i < endpoints.length; i++) {
      const at = (start + i) % endpoints.length;
      const endpoint = endpoints[at] as Endpoint;
      try {
        callSignal?.throwIfAborted();
        if (!endpoint.checked) await check(endpoint, callSignal);
        const outcomes = await post(endpoint, calls, callSignal);
        const fault = outcomes.find((o): o is { error: RpcRequestError } => "error" in o && isTransportFault(o.error));
        if (fault !== undefined && i < endpoints.length - 1) throw fault.error;
        if (i > 0) first = at;
        return outcomes;
      } catch (error) {
        callSignal?.throwIfAborted();
        endpoint.checked = false;
        failure = error;
        onFailure?.(endpoint.host);
        log.debug({ rpc: endpoint.host, method: calls[0]?.method, err: error }, "rpc did not answer");
      }
    }
    if (failure instanceof MarketError) throw failure;
    throw rpcUnavailable(`No RPC answered ${calls[0]?.method}: ${toMarketError(failure).message}`, { cause: failure });
  }

  async function requestMany(calls: readonly RpcCall[], { signal: callSignal }: CallOptions = {}) {
    const outcomes: RpcOutcome[] = [];
    for (let i = 0; i < calls.length; i += BATCH) outcomes.push(...(await send(calls.slice(i, i + BATCH), callSignal)));
    return outcomes;
  }

  async function request(method: string, params: readonly unknown[] = [], { signal: callSignal }: CallOptions = {}) {
    const [outcome] = await send([{ method, params }], callSignal);
    if (outcome === undefined) throw rpcInconsistent(`The RPC did not answer ${method}.`);
    if ("error" in outcome) throw outcome.error;
    return outcome.result;
  }

  const failures: unknown[] = [];
  for (const endpoint of endpoints) {
    await check(endpoint, signal).catch((error: unknown) => {
      signal?.throwIfAborted();
      if (error instanceof MarketError && error.code === "WRONG_CHAIN") throw error;
      onFailure?.(endpoint.host);
      log.warn({ rpc: endpoint.host, err: error }, "rpc did not answer");
      failures.push(error);
    });
  }
  if (chainId === undefined || failures.length === endpoints.length) {
    const hosts = endpoints.map((e) => e.host).join(", ");
    throw rpcUnavailable(`No RPC answers at ${hosts}.`, { cause: failures[0] });
  }

  const transport = custom(
    { request: ({ method, params }: { method: string; params?: readonly unknown[] }) => request(method, params) },
    { retryCount: 0 },
  );
  return {
    chainId,
    client: createPublicClient({ transport }) as PublicClient,
    request,
    requestMany,
    async assertDeployed(addresses, { signal: callSignal } = {}) {
      const named = Array.isArray(addresses)
        ? (addresses as readonly Address[]).map((address): [string, Address] => ["contract", address])
        : Object.entries(addresses as Readonly<Record<string, Address>>);
      const outcomes = await requestMany(
        named.map(([, address]) => ({ method: "eth_getCode", params: [address, "latest"] })),
        { signal: callSignal },
      );
      outcomes.forEach((outcome, i) => {
        if ("error" in outcome) throw toMarketError(outcome.error, { action: "Reading a contract's code" });
        if (typeof outcome.result !== "string")
          throw rpcInconsistent("The RPC did not say whether a contract has code.");
        if (outcome.result.length <= 2) throw notDeployed(named[i] as [string, Address], chainId as number);
      });
    },
    rotate() {
      first = (first + 1) % endpoints.length;
    },
  };
}

function wrongChain(host: string, expected: number, actual: number): MarketError {
  return new MarketError("WRONG_CHAIN", `The RPC at ${host} serves chain ${actual}, not ${expected}.`, {
    hint: `Give an RPC of chain ${expected}, or set the chain id to ${actual}.`,
  });
}

function notDeployed([name, address]: [string, Address], chainId: number): MarketError {
  return new MarketError("NOT_DEPLOYED", `There is no ${name} at ${address} on chain ${chainId}.`, {
    hint: "Is this the right chain? Is the address file stale? Deploy again, or give the current addresses.",
  });
}

function hostOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol !== "http:" && parsed?.protocol !== "https:") {
    throw new MarketError("RPC_URL_INVALID", "An RPC URL is not a valid http(s) URL.", {
      hint: "It looks like http://127.0.0.1:8545 or https://host/path.",
    });
  }
  return parsed.host;
}
