import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

interface Code {
  object: string;
}

interface Compiled {
  abi: unknown;
  evm: { bytecode: Code; deployedBytecode: Code; methodIdentifiers: unknown };
}

interface BuildOutput {
  output: {
    sources: Record<string, { id: number; ast: unknown }>;
    contracts: Record<string, Record<string, Compiled>>;
  };
}

/** Writes what Hardhat built in `artifacts` as forge would have: `out/FILE.sol/CONTRACT.json`, as far as halmos reads it. */
export function writeForgeOutput(artifacts: string, out: string): void {
  const infos = join(artifacts, "build-info");
  for (const file of readdirSync(infos).filter((name) => name.endsWith(".output.json"))) {
    const { output } = JSON.parse(readFileSync(join(infos, file), "utf8")) as BuildOutput;
    for (const [source, contracts] of Object.entries(output.contracts)) {
      const folder = join(out, basename(source));
      mkdirSync(folder, { recursive: true });
      for (const [name, { abi, evm }] of Object.entries(contracts)) {
        const artifact = {
          ...output.sources[source],
          abi,
          metadata: { compiler: { version: "solc" } },
          methodIdentifiers: evm.methodIdentifiers,
          bytecode: withPrefix(evm.bytecode),
          deployedBytecode: withPrefix(evm.deployedBytecode),
        };
        writeFileSync(join(folder, `${name}.json`), JSON.stringify(artifact));
      }
    }
  }
}

function withPrefix(code: Code): Code {
  return { ...code, object: `0x${code.object}` };
}
