import type { Address, Hex } from "@berth/protocol";
import { encodeDeployData, encodeFunctionData, parseAbi } from "viem";
import type { Anvil } from "./anvil.ts";
import { type Compiled, compile } from "./solc.ts";

/** A contract that emits events, counts calls and refuses some. */
export const PINGER_ABI = parseAbi([
  "event Pinged(address indexed who, uint256 number, string note)",
  "error TooLow(uint256 given, uint256 least)",
  "function ping(uint256 times)",
  "function once(uint256 id)",
  "function atLeast(uint256 given, uint256 least)",
  "function raise(uint256 to)",
  "function needs(uint256 level)",
  "function count() view returns (uint256)",
]);

const SOURCE = `// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;
contract Pinger {
    event Pinged(address indexed who, uint256 number, string note);
    error TooLow(uint256 given, uint256 least);
    uint256 public count;
    uint256 public level;
    mapping(uint256 id => bool) public done;
    function ping(uint256 times) external {
        for (uint256 i = 0; i < times; i++) emit Pinged(msg.sender, ++count, "ping");
    }
    function once(uint256 id) external {
        require(!done[id], "already done");
        done[id] = true;
        emit Pinged(msg.sender, ++count, "once");
    }
    function atLeast(uint256 given, uint256 least) external {
        if (given < least) revert TooLow(given, least);
        count++;
    }
    function raise(uint256 to) external { level = to; }
    function needs(uint256 least) external {
        if (level < least) revert TooLow(level, least);
        count++;
    }
}`;

let compiled: Compiled | undefined;

/** Deploys a Pinger from the chain's first account and mines it. */
export async function deployPinger(anvil: Anvil): Promise<Address> {
  compiled ??= compile(SOURCE, "Pinger");
  const [{ address: from }] = anvil.accounts;
  const data = encodeDeployData({ abi: compiled.abi, bytecode: compiled.bytecode });
  const hash = (await anvil.call("eth_sendTransaction", [{ from, data }])) as Hex;
  await anvil.call("evm_mine");
  const receipt = (await anvil.call("eth_getTransactionReceipt", [hash])) as { contractAddress: Address };
  return receipt.contractAddress;
}

export function pingData(times: number | bigint): Hex {
  return encodeFunctionData({ abi: PINGER_ABI, functionName: "ping", args: [BigInt(times)] });
}
