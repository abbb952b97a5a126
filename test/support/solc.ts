import { createRequire } from "node:module";
import type { Hex } from "@berth/protocol";
import type { Abi } from "viem";

export interface Compiled {
  abi: Abi;
  bytecode: Hex;
}

/** Compiles one Solidity source and returns its contract `name`. Throws the compiler's errors. */
export function compile(source: string, name: string): Compiled {
  const solc = createRequire(import.meta.url)("solc") as { compile(input: string): string };
  const input = {
    language: "Solidity",
    sources: { "Test.sol": { content: source } },
    settings: { outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input))) as {
    errors?: { severity: string; formattedMessage: string }[];
    contracts?: Record<string, Record<string, { abi: Abi; evm: { bytecode: { object: string } } }>>;
  };
  const errors = (output.errors ?? []).filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw new Error(errors.map(({ formattedMessage }) => formattedMessage).join("\n"));
  const contract = output.contracts?.["Test.sol"]?.[name];
  if (contract === undefined) throw new Error(`the source has no contract ${name}`);
  return { abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` };
}
