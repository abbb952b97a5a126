import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { stringify } from "yaml";
import { createKeyFile, readKey } from "../chain/keys.ts";
import type { Run } from "../cli/runner.ts";
import { type Config, keyFileOf, wgKeyFileOf } from "../config.ts";
import { loadOrCreateKey } from "../mesh/keys.ts";
import { example, facts } from "./print.ts";

export interface InitAnswer {
  dataDir: string;
  configFile: string;
  /** The hot key's account: it needs coin for gas. */
  key: string;
  /** WireGuard public key in base64. */
  wgKey: string;
  made: { key: boolean; configFile: boolean };
}

/** `berth-node init` */
export function addInit(program: Command, run: Run): void {
  program
    .command("init")
    .description("make the data folder, the keys and a configuration file")
    .addHelpText(
      "after",
      example("berth-node init --deployment market.json --rpc https://rpc.example --operator 0xYOU"),
    )
    .action((_flags: object, self: Command) =>
      run(self, async ({ config }) => {
        const answer = await init(config);
        const text = facts([
          ["data folder", answer.dataDir],
          ["configuration", answer.configFile],
          ["hot key (needs gas)", answer.key],
          ["WireGuard key", answer.wgKey],
        ]);
        return { json: answer, text };
      }),
    );
}

/** Makes what a node needs before its first start: folder, keys, configuration file. What exists stays as it is. */
async function init(config: Config): Promise<InitAnswer> {
  mkdirSync(config.dataDir, { recursive: true, mode: 0o711 });
  const madeKey = createKeyFile(keyFileOf(config));
  const { address } = readKey(keyFileOf(config), "hot key");
  const { publicKey } = await loadOrCreateKey(wgKeyFileOf(config));
  const configFile = join(config.dataDir, "config.yaml");
  const madeConfig = !existsSync(configFile);
  if (madeConfig) writeFileSync(configFile, template(config), { flag: "wx", mode: 0o600 });
  return {
    dataDir: config.dataDir,
    configFile,
    key: address,
    wgKey: publicKey,
    made: { key: madeKey, configFile: madeConfig },
  };
}

/** The configuration as it is, for a person to go on from. The data folder is left out: the file lies in it. */
function template({ dataDir: _, ...config }: Config): string {
  const plain = JSON.parse(JSON.stringify(config, (__, value) => (typeof value === "bigint" ? String(value) : value)));
  return `# Settings of a Berth node. Flags and BERTH_NODE_* variables are stronger than this file.\n${stringify(plain)}`;
}
