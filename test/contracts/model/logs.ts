import type { Hex } from "viem";
import { provider } from "../support/actors.ts";
import type { Log } from "./replay.ts";

interface RpcLog extends Omit<Log, "timestamp"> {
  blockNumber: Hex;
}

/** Every event since the chain began, in order. */
export async function allLogs(): Promise<Log[]> {
  const range = { fromBlock: "0x0", toBlock: "latest" };
  const logs = (await provider.request({ method: "eth_getLogs", params: [range] })) as RpcLog[];
  const numbers = [...new Set(logs.map(({ blockNumber }) => blockNumber))];
  const times = new Map(await Promise.all(numbers.map(async (number) => [number, await timeOf(number)] as const)));
  return logs.map((log) => ({ ...log, timestamp: times.get(log.blockNumber) ?? 0 }));
}

async function timeOf(block: Hex): Promise<number> {
  const { timestamp } = (await provider.request({ method: "eth_getBlockByNumber", params: [block, false] })) as {
    timestamp: Hex;
  };
  return Number(timestamp);
}
