import { type ErrorDetails, type Hex, MarketError } from "@berth/protocol";
import {
  type Abi,
  AbiErrorSignatureNotFoundError,
  BaseError,
  decodeErrorResult,
  HttpRequestError,
  isHex,
  ResponseBodyTooLargeError,
  RpcRequestError,
  TimeoutError,
} from "viem";

/** What helps to explain a failure: `abi` names custom errors, `action` says what was tried ("submit the result"). */
export interface ErrorContext {
  abi?: Abi;
  action?: string;
}

/**
 * Turns anything that viem, an RPC or a contract threw into a MarketError: `REVERTED` (with the custom error's name and
 * arguments), `INSUFFICIENT_GAS_FUNDS`, `RPC_UNAVAILABLE` (retryable) or `RPC_ERROR`. A MarketError passes unchanged.
 */
export function toMarketError(error: unknown, { abi, action = "The call" }: ErrorContext = {}): MarketError {
  if (error instanceof MarketError) return error;
  const said = shortMessage(error);
  const data = revertData(error);
  if (data !== undefined) {
    return new MarketError("REVERTED", `${action} was refused by the contract: ${describeRevert(data, said, abi)}.`, {
      cause: error,
    });
  }
  if (
    /insufficient funds|enough funds|exceeds (the )?(transaction sender account )?balance|out of ?funds/i.test(said)
  ) {
    return new MarketError("INSUFFICIENT_GAS_FUNDS", `${action} costs more gas money than the account holds.`, {
      hint: "Send native coins to the account, then try again.",
      retryable: true,
      cause: error,
    });
  }
  if (/\brevert(ed)?\b|EVM error|invalid opcode|out ?of ?gas|gas required exceeds|always failing/i.test(said)) {
    return new MarketError("REVERTED", `${action} was refused by the contract: ${said}.`, { cause: error });
  }
  if (isTransportFault(error)) return rpcUnavailable(`${action} got no answer from the RPC: ${said}`, { cause: error });
  return new MarketError("RPC_ERROR", `${action} failed: ${said}`, { cause: error });
}

/** `RPC_UNAVAILABLE`: nobody answered. Says nothing about the chain. */
export function rpcUnavailable(message: string, details: ErrorDetails = {}): MarketError {
  return new MarketError("RPC_UNAVAILABLE", message, {
    hint: "Check that the RPC runs and that its URL is right.",
    retryable: true,
    ...details,
  });
}

/** `RPC_INCONSISTENT`: an empty, malformed or contradictory answer. What it was asked about stays unknown. */
export function rpcInconsistent(message: string, cause?: unknown): MarketError {
  return new MarketError("RPC_INCONSISTENT", message, {
    hint: "The RPC may be syncing, behind a load balancer, or in the middle of a reorganisation; the call is repeated.",
    retryable: true,
    cause,
  });
}

/** Did the RPC fail as a service (unreachable, overloaded, too slow), rather than answer? */
export function isTransportFault(error: unknown): boolean {
  if (find(error, (e) => e instanceof HttpRequestError || e instanceof TimeoutError)) return true;
  const code = rpcCode(error);
  if (code === -32005 || code === -32002 || code === 429) return true;
  return code === -32603 && revertData(error) === undefined && !/revert/i.test(shortMessage(error));
}

/** Did the RPC refuse because it was asked for too much at once? A smaller range may pass. */
export function isTooLarge(error: unknown): boolean {
  if (find(error, (e) => e instanceof TimeoutError || e instanceof ResponseBodyTooLargeError)) return true;
  const http = find(error, (e) => e instanceof HttpRequestError) as HttpRequestError | undefined;
  if (http?.status === 413 || http?.status === 504) return true;
  const rpc = find(error, (e) => e instanceof RpcRequestError) as RpcRequestError | undefined;
  if (rpc === undefined) return false;
  return (
    rpc.code === -32005 || /too (many|large|big|wide)|limit|range|exceed|timed? ?out|size/i.test(rpc.details ?? "")
  );
}

/** Does the RPC not know this method at all? */
export function isMethodMissing(error: unknown): boolean {
  if (rpcCode(error) === -32601) return true;
  return /method.*(not (found|supported|available|implemented)|does not exist)|unsupported method/i.test(
    shortMessage(error),
  );
}

/** The bytes a reverting call returned, or undefined when the failure carries none. */
function revertData(error: unknown): Hex | undefined {
  for (let e: unknown = error, depth = 0; e !== null && typeof e === "object" && depth < 10; depth++) {
    const data = dataOf((e as { data?: unknown }).data);
    if (data !== undefined) return data;
    e = (e as { cause?: unknown }).cause;
  }
  return undefined;
}

function dataOf(value: unknown): Hex | undefined {
  if (isHex(value)) return value.length >= 10 ? value : undefined;
  if (value !== null && typeof value === "object") return dataOf((value as { data?: unknown }).data);
  return undefined;
}

function describeRevert(data: Hex, said: string, abi: Abi = []): string {
  try {
    const { errorName, args = [], abiItem } = decodeErrorResult({ abi, data });
    const inputs = abiItem?.type === "error" ? abiItem.inputs : [];
    if (errorName === "Error") return `"${String(args[0])}"`;
    const shown = args.map((arg, i) => (inputs[i]?.name ? `${inputs[i].name}: ${show(arg)}` : show(arg)));
    return `${errorName}(${shown.join(", ")})`;
  } catch (error) {
    const unknown = error instanceof AbiErrorSignatureNotFoundError;
    return unknown ? `unknown error ${data.slice(0, 10)}` : `${said} (${data.slice(0, 10)})`;
  }
}

function show(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(show).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.entries(value).map(([name, item]) => `${name}: ${show(item)}`);
    return `{${fields.join(", ")}}`;
  }
  return String(value);
}

function shortMessage(error: unknown): string {
  const rpc = find(error, (e) => e instanceof RpcRequestError) as RpcRequestError | undefined;
  if (rpc?.details) return rpc.details;
  if (error instanceof BaseError) return error.details || error.shortMessage;
  return error instanceof Error ? error.message : String(error);
}

function rpcCode(error: unknown): number | undefined {
  const rpc = find(error, (e) => e instanceof RpcRequestError) as RpcRequestError | undefined;
  return rpc?.code;
}

function find(error: unknown, test: (e: unknown) => boolean): unknown {
  for (let e: unknown = error, depth = 0; e !== undefined && e !== null && depth < 10; depth++) {
    if (test(e)) return e;
    e = typeof e === "object" ? (e as { cause?: unknown }).cause : undefined;
  }
  return undefined;
}
