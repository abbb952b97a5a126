import { type Rpc, toMarketError } from "@berth/chain";
import {
  type Address,
  assertLogAccess,
  type Deployment,
  identityRegistryAbi,
  logAccessTypedData,
  MarketError,
  parseLogAccess,
  type SignedLogAccess,
} from "@berth/protocol";
import { encodeFunctionData, hashTypedData, parseAbi, recoverAddress } from "viem";
import type { JobRow } from "../store/journal.ts";

/** Lets those read a replica's live log who ordered or pay for it. */
export interface LogGate {
  /**
   * Whose signature it is that the `Authorization` header bears.
   * Throws LOG_ACCESS_INVALID, LOG_ACCESS_ELSEWHERE, LOG_ACCESS_EXPIRED, LOG_ACCESS_TOO_LONG, LOG_ACCESS_DENIED,
   * LOG_ACCESS_UNSIGNED, LOG_STREAMS_BUSY, and the RPC's errors.
   */
  admit(header: string | undefined, job: JobRow, signal: AbortSignal): Promise<Address>;
}

export interface LogGateOptions {
  rpc: Rpc;
  deployment: Deployment;
  self: { operator: Address; index: number };
  /** Unix seconds by the chain's clock. */
  now(): number;
}

/** How long the chain's word counts on who controls an identity. */
const CONTROLLER_MS = 30_000;
const MAX_CONTROLLERS = 1000;
/** Headers looked at side by side: each may cost a question to the RPC. */
const MAX_AT_ONCE = 16;
const walletAbi = parseAbi(["function isValidSignature(bytes32 hash, bytes signature) view returns (bytes4)"]);
const VALID = "0x1626ba7e";

/** Asks the chain who controls the identities, and contract wallets (ERC-1271) about their signatures. */
export function createLogGate({ rpc, deployment, self, now }: LogGateOptions): LogGate {
  const domain = { chainId: deployment.chainId, market: deployment.market };
  const controllers = new Map<Address, { controller: Address; until: number }>();
  let underWay = 0;

  async function controllerOf(identity: Address): Promise<Address> {
    const known = controllers.get(identity);
    if (known !== undefined && known.until > Date.now()) return known.controller;
    const registry = { address: deployment.identity, abi: identityRegistryAbi } as const;
    const call = { ...registry, functionName: "controllerOf", args: [identity] } as const;
    const answer = await rpc.client.readContract(call).catch((error: unknown) => {
      throw toMarketError(error, { action: "Reading who controls an identity" });
    });
    const controller = answer.toLowerCase() as Address;
    if (controllers.size >= MAX_CONTROLLERS) controllers.clear();
    controllers.set(identity, { controller, until: Date.now() + CONTROLLER_MS });
    return controller;
  }

  async function isSigned(access: SignedLogAccess, signal: AbortSignal): Promise<boolean> {
    const { account, signature } = access;
    const hash = hashTypedData(logAccessTypedData(domain, access));
    const signer = await recoverAddress({ hash, signature }).catch(() => undefined);
    if (signer?.toLowerCase() === account) return true;
    const data = encodeFunctionData({ abi: walletAbi, functionName: "isValidSignature", args: [hash, signature] });
    try {
      const answer = await rpc.request("eth_call", [{ to: account, data }, "latest"], { signal });
      return typeof answer === "string" && answer.startsWith(VALID);
    } catch (cause) {
      const error = toMarketError(cause, { action: "Asking a wallet about a signature" });
      if (error.code.startsWith("RPC_")) throw error;
      return false;
    }
  }

  async function admit(header: string | undefined, { jobId, replica, terms }: JobRow, signal: AbortSignal) {
    const access = parseLogAccess(header ?? "");
    const { operator, index } = self;
    // As clients count: a chain at rest is behind the time of day.
    const today = Math.max(now(), Math.floor(Date.now() / 1000));
    assertLogAccess(access, { jobId, replica, operator, index }, today);
    const { requester, payer } = terms.job;
    const allowed = await Promise.all([...new Set([requester, payer])].map(controllerOf));
    if (!allowed.includes(access.account)) {
      throw new MarketError("LOG_ACCESS_DENIED", `${access.account} neither ordered nor pays for this job.`, {
        hint: "Sign with the account that controls the job's requester or payer.",
      });
    }
    if (await isSigned(access, signal)) return access.account;
    throw new MarketError("LOG_ACCESS_UNSIGNED", `This is not a signature of ${access.account}.`, {
      hint: "Check the chain, the market and the fields that were signed.",
    });
  }

  return {
    async admit(header, job, signal) {
      if (underWay >= MAX_AT_ONCE) {
        throw new MarketError("LOG_STREAMS_BUSY", "Too many ask for logs at once.", { retryable: true });
      }
      underWay += 1;
      try {
        return await admit(header, job, signal);
      } finally {
        underWay -= 1;
      }
    },
  };
}
