import { shownUrl, toJson } from "@berth/protocol";
import type { Command } from "commander";
import type { Run } from "../cli/runner.ts";
import { explainConfig, type Setting } from "../config.ts";
import { example, table } from "./print.ts";

export interface ConfigAnswer {
  /** Every setting as it counts; null: not set. Of addresses, what may be a secret is left out. */
  settings: Setting[];
}

/** `berth-node config explain` */
export function addConfig(program: Command, run: Run): void {
  const config = program
    .command("config")
    .description("the settings of this node")
    .addHelpText("after", example("berth-node config explain"));
  config
    .command("explain")
    .description("every setting as it counts, and whether a flag, the environment, the file or the default says so")
    .action((_flags: object, self: Command) =>
      run(self, async ({ sources }) => {
        const settings = explainConfig(sources).map((setting) => ({
          ...setting,
          value: withoutSecrets(setting.value),
        }));
        const rows = settings.map(({ path, value, source, from }) => [path, textOf(value), from ?? source]);
        return { json: { settings } satisfies ConfigAnswer, text: table(rows, ["setting", "value", "from"]) };
      }),
    );
}

function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  return typeof value === "string" && /^https?:\/\//.test(value) ? shownUrl(value) : value;
}

function textOf(value: unknown): string {
  if (value === null) return "";
  return typeof value === "string" ? value : toJson(value);
}
