import { type Address, type JobId, jobMarketAbi, providerStakingAbi, testTokenAbi } from "@berth/protocol";
import { type Abi, decodeFunctionResult, encodeFunctionData, type Hex } from "viem";
import { provider } from "../support/actors.ts";
import type { Chain } from "./chain.ts";
import { acceptedKey, type Storage, withoutZeros } from "./storage.ts";

/** Everything that market and staking store of the people and of the replicas named `jobId/replica`, asked of the chain. */
export async function readStorage({ facts, people }: Chain, replicaKeys: readonly string[]): Promise<Storage> {
  const { token, market, staking } = facts;
  const accounts = people.map(({ address }) => address as Address);
  const operators = Object.keys(facts.nodes) as Address[];
  const whats = [token, facts.judge, facts.arbiter];
  const ofMarket = (name: string, ...args: unknown[]) => ask(market, jobMarketAbi, name, args);
  const ofStaking = (name: string, ...args: unknown[]) => ask(staking, providerStakingAbi, name, args);
  const ofReplica = (name: string) => (key: string) => {
    const [jobId, replica] = key.split("/") as [JobId, string];
    return ofMarket(name, jobId, Number(replica));
  };
  const pairs = operators.flatMap((operator) => whats.map((what) => [operator, what] as const));
  const accepted = await Promise.all(
    pairs.map(async (pair) => [acceptedKey(...pair), await ofMarket("accepts", ...pair)] as const),
  );
  const tables = {
    paused: await ofMarket("paused"),
    balances: await table(accounts, (account) => ofMarket("balanceOf", account, token)),
    wallets: await table([...accounts, market, staking], (account) => ask(token, testTokenAbi, "balanceOf", [account])),
    stakes: await table(accounts, (account) => ofStaking("stakeOf", account, token)),
    exits: await table(operators, (operator) => ofStaking("exitOf", operator, token)),
    owed: await table(accounts, (account) => ofStaking("owedTo", account, token)),
    uses: await table(operators, (operator) => ofMarket("useOf", operator, 0)),
    limits: await table(operators, (operator) => ofMarket("limitsOf", operator, 0)),
    accepted: Object.fromEntries(accepted),
    replicas: await table(replicaKeys, ofReplica("replicaOf")),
    leases: await table(replicaKeys, ofReplica("leaseOf")),
  };
  return withoutZeros(tables as unknown as Storage);
}

async function table(keys: readonly string[], row: (key: string) => Promise<unknown>) {
  const rows = await Promise.all(keys.map(async (key) => [key, await row(key)] as const));
  return Object.fromEntries(rows);
}

async function ask(to: Hex, abi: Abi, functionName: string, args: readonly unknown[]): Promise<unknown> {
  const data = encodeFunctionData({ abi, functionName, args });
  const answer = (await provider.request({ method: "eth_call", params: [{ to, data }, "latest"] })) as Hex;
  return decodeFunctionResult({ abi, functionName, args, data: answer });
}
