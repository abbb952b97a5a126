import { existsSync, readFileSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { addressSchema, MarketError, parseWith } from "@berth/protocol";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { attesterConfigSchema } from "./attest/index.ts";
import { engineSchema } from "./config/engine.ts";
import { path, url } from "./config/fields.ts";
import { gpusSchema } from "./config/gpus.ts";
import { hookSchema } from "./config/hook.ts";
import { httpSchema } from "./config/http.ts";
import { imagesSchema } from "./config/images.ts";
import { journalSchema } from "./config/journal.ts";
import { offersSchema } from "./config/offers.ts";
import { transactionsSchema } from "./config/transactions.ts";
import { logLevels } from "./log.ts";

/** What a path field is called, so that relative ones can be resolved where they were written. */
const pathFields = ["dataDir", "deploymentFile", "keyFile"];

export const configSchema = z.strictObject({
  /** Everything the node keeps: keys, journal, content, engine storage. */
  dataDir: path.default("/var/lib/berth-node"),
  /** Part of the name of every container, cgroup and interface this node makes. */
  runId: z
    .string()
    .regex(/^[a-z0-9]{1,8}$/, "must be 1 to 8 small letters or digits")
    .default("node"),
  rpcUrls: z.array(url).min(1).default(["http://127.0.0.1:8545"]),
  /** JSON file that says where the market lives. */
  deploymentFile: path.optional(),
  operator: addressSchema.optional(),
  index: z.int().min(0).max(0xffff_ffff).default(0),
  /** File with the hot key, readable by its owner only. Absent: `hot.key` in the data folder. */
  keyFile: path.optional(),
  indexers: z.array(url).default([]),
  contentGateways: z.array(url).default([]),
  content: z
    .strictObject({
      /** Ask content sources that requesters name in private and loopback ranges, as on a machine that hosts everything. */
      allowPrivateSources: z.boolean().default(false),
    })
    .prefault({}),
  /** RPC of a Kubo daemon to hold content instead of the embedded store. */
  kuboUrl: url.optional(),
  http: httpSchema.prefault({}),
  mesh: z
    .strictObject({
      enabled: z.boolean().default(true),
      listenPort: z.int().min(1).max(65_535).default(51_820),
      /** `host:port` that other nodes reach the WireGuard socket by. Absent: this node dials only. */
      endpoint: z.string().min(3).optional(),
      interfaceName: z
        .string()
        .regex(/^[a-zA-Z0-9_-]{1,15}$/)
        .optional(),
      /** Take peers' endpoints in private and loopback ranges, as on a machine that hosts several nodes. */
      allowPrivateEndpoints: z.boolean().default(false),
    })
    .prefault({}),
  attestation: attesterConfigSchema.default({ type: "none" }),
  engine: engineSchema.default({ type: "podman" }),
  gpus: gpusSchema.prefault({}),
  offers: offersSchema.prefault({}),
  transactions: transactionsSchema.prefault({}),
  hook: hookSchema.optional(),
  /** Take posted requests that fit the node's own offer, without an indexer. */
  acceptPosted: z.boolean().default(false),
  /** Blocks on top of a match before work starts, and on top of a result before it counts as final. */
  confirmations: z.int().min(0).max(1000).default(2),
  pollMs: z.int().min(10).max(600_000).default(1000),
  /** The most that the image and the inputs of one job may need together, in MiB. */
  maxContentMiB: z.int().min(1).default(16_384),
  /** Nothing is fetched for jobs while less of the disk is free, in MiB. */
  minFreeMiB: z.int().min(0).default(1024),
  images: imagesSchema.prefault({}),
  journal: journalSchema.prefault({}),
  /** The most output files that a job's spec may allow itself. */
  maxOutputFiles: z.int().min(1).max(1_000_000).default(100_000),
  /** How often the running node tries again what `doctor` tries; what no longer passes is no longer offered. */
  recheckSeconds: z.int().min(1).max(86_400).default(3600),
  logLevel: z.enum(logLevels).default("info"),
});

export type Config = z.infer<typeof configSchema>;

/** Where settings come from, strongest first. */
export interface ConfigSources {
  /** Nested values as typed on the command line. */
  flags: Record<string, unknown>;
  env: Readonly<Record<string, string | undefined>>;
  /** `--config FILE`. */
  file?: string | undefined;
  cwd: string;
}

/**
 * Flags over `BERTH_NODE_*` over the file over defaults. The file is `--config`, `BERTH_NODE_CONFIG`, or `config.yaml` in
 * the data folder if there is one. Throws CONFIG_INVALID, CONFIG_UNREADABLE.
 */
export function loadConfig(sources: ConfigSources): Config {
  const { fromFile, fromEnv, fromFlags } = layersOf(sources);
  const merged = merge(merge(fromFile, fromEnv), fromFlags);
  return parseWith(configSchema, merged, { code: "CONFIG_INVALID", what: "The configuration" });
}

/** One setting as it counts, and who said so. */
export interface Setting {
  path: string;
  /** Null: not set. */
  value: unknown;
  source: "flag" | "environment" | "file" | "default";
  /** The variable or the file. */
  from: string | null;
}

/** Every setting as it counts, in the order of the schema. Throws CONFIG_INVALID, CONFIG_UNREADABLE. */
export function explainConfig(sources: ConfigSources): Setting[] {
  const config = loadConfig(sources);
  const { fromFile, fromEnv, fromFlags, file } = layersOf(sources);
  const all = leaves(configSchema);
  const isSection = ({ path }: Leaf) => all.some((other) => other.path.startsWith(`${path}.`));
  return all
    .filter((leaf) => !isSection(leaf))
    .map(({ path }) => {
      const about = { path, value: get(config, path) ?? null };
      if (get(fromFlags, path) !== undefined) return { ...about, source: "flag", from: null };
      if (get(fromEnv, path) !== undefined) return { ...about, source: "environment", from: envName(path) };
      if (get(fromFile, path) !== undefined) return { ...about, source: "file", from: file };
      return { ...about, source: "default", from: null };
    });
}

function layersOf({ flags, env, file, cwd }: ConfigSources) {
  const fromEnv = resolvePaths(envValues(env), cwd);
  const fromFlags = resolvePaths(coerce(flags), cwd);
  const dataDir = String(
    get(fromFlags, "dataDir") ?? get(fromEnv, "dataDir") ?? configSchema.shape.dataDir.parse(undefined),
  );
  const named = file ?? env["BERTH_NODE_CONFIG"];
  const chosen = named === undefined ? join(dataDir, "config.yaml") : resolve(cwd, named);
  const fromFile = named !== undefined || existsSync(chosen) ? resolvePaths(readFile(chosen), dirname(chosen)) : {};
  return { fromFile, fromEnv, fromFlags, file: chosen };
}

/** The setting `name` that a command cannot do without. Throws CONFIG_MISSING. */
export function need<K extends "operator" | "deploymentFile">(config: Config, name: K): NonNullable<Config[K]> {
  const value = config[name];
  if (value !== undefined) return value as NonNullable<Config[K]>;
  const [flag, what] =
    name === "operator"
      ? ["--operator ADDRESS", "Who owns this node"]
      : ["--deployment FILE", "Where the market lives"];
  throw new MarketError("CONFIG_MISSING", `${what} is not set.`, {
    hint: `Give ${flag}, set ${envName(name)}, or write "${name}" into the configuration file.`,
  });
}

/** The path of the node's hot key. */
export function keyFileOf(config: Config): string {
  return config.keyFile ?? join(config.dataDir, "hot.key");
}

/** The path of the node's WireGuard key. */
export function wgKeyFileOf(config: Config): string {
  return join(config.dataDir, "wg.key");
}

type Tree = Record<string, unknown>;
type Leaf = { path: string; schema: z.ZodType };

function readFile(file: string): Tree {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new MarketError("CONFIG_UNREADABLE", `The configuration file ${file} cannot be read.`, {
      hint: "Check the path and its permissions, or run `berth-node init` to write one.",
      cause,
    });
  }
  try {
    const value: unknown = parseYaml(text) ?? {};
    if (isTree(value)) return value;
  } catch (cause) {
    throw new MarketError("CONFIG_INVALID", `${file} is neither YAML nor JSON: ${(cause as Error).message}`, { cause });
  }
  throw new MarketError("CONFIG_INVALID", `${file} does not hold a list of settings.`);
}

/** Settings found in the environment, by the names of the schema's fields. Throws CONFIG_INVALID for an unknown one. */
function envValues(env: ConfigSources["env"]): Tree {
  const tree: Tree = {};
  const byName = new Map(leaves(configSchema).map((leaf) => [envName(leaf.path), leaf]));
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith("BERTH_NODE_") || notSettings.includes(name) || text === undefined) continue;
    const leaf = byName.get(name);
    const inFile = byName.get(name.replace(/_FILE$/, ""));
    if (leaf === undefined && inFile !== undefined) {
      set(tree, inFile.path, fromText(inFile, readSecret(name, text)));
      continue;
    }
    if (leaf === undefined) {
      throw new MarketError("CONFIG_INVALID", `There is no setting behind the environment variable ${name}.`, {
        hint: `Known: ${[...byName.keys()].join(", ")}.`,
      });
    }
    set(tree, leaf.path, fromText(leaf, text));
  }
  if (env["BERTH_DEPLOYMENT"] !== undefined && get(tree, "deploymentFile") === undefined) {
    set(tree, "deploymentFile", env["BERTH_DEPLOYMENT"]);
  }
  return tree;
}

/** Variables of this program that are no settings. */
const notSettings = ["BERTH_NODE_CONFIG", "BERTH_NODE_OPERATOR_KEY_FILE"];

/** The value of a setting that is kept out of the environment, in a file. */
function readSecret(name: string, file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw new MarketError("CONFIG_UNREADABLE", `The file ${file} that ${name} names cannot be read.`, {
      hint: "Check the path and its permissions.",
      cause,
    });
  }
}

/** `set` values of the command line arrive as text. */
function coerce(flags: Tree): Tree {
  const tree: Tree = {};
  for (const leaf of leaves(configSchema)) {
    const value = get(flags, leaf.path);
    if (value !== undefined) set(tree, leaf.path, typeof value === "string" ? fromText(leaf, value) : value);
  }
  const unknown = unknownIn(flags);
  if (unknown !== undefined) {
    throw new MarketError("CONFIG_INVALID", `There is no setting "${unknown}".`, {
      hint: "`berth-node config explain` lists them all.",
    });
  }
  return tree;
}

/** The first path in `flags` that the schema does not have. What lies below a setting of several shapes, the schema judges. */
function unknownIn(flags: Tree, prefix = ""): string | undefined {
  const known = leaves(configSchema).map(({ path }) => path);
  for (const [key, value] of Object.entries(flags)) {
    const path = `${prefix}${key}`;
    if (value === undefined) continue;
    if (!known.includes(path)) return path;
    const isSection = known.some((other) => other.startsWith(`${path}.`));
    const below = isSection && isTree(value) ? unknownIn(value, `${path}.`) : undefined;
    if (below !== undefined) return below;
  }
  return undefined;
}

/** Text as the leaf's type: as it stands, as a list split at commas, or as JSON; whichever the schema takes. */
function fromText({ schema }: Leaf, text: string): unknown {
  const readings = [() => text, () => text.split(",").map((part) => part.trim()), () => JSON.parse(text) as unknown];
  for (const read of readings) {
    try {
      const value = read();
      if (schema.safeParse(value).success) return value;
    } catch {
      // not JSON
    }
  }
  return text;
}

function leaves(schema: z.ZodObject, prefix = ""): Leaf[] {
  return Object.entries(schema.shape).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    let inner = field as z.ZodType;
    while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      inner = inner.unwrap() as z.ZodType;
    }
    if (!(inner instanceof z.ZodObject)) return [{ path, schema: field as z.ZodType }];
    return [{ path, schema: field as z.ZodType }, ...leaves(inner, `${path}.`)];
  });
}

function envName(path: string): string {
  const snake = path
    .replaceAll(".", "_")
    .replaceAll("MiB", "Mib")
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2");
  return `BERTH_NODE_${snake.toUpperCase()}`;
}

function resolvePaths(tree: Tree, base: string): Tree {
  for (const field of pathFields) {
    const value = get(tree, field);
    if (typeof value === "string" && !isAbsolute(value)) set(tree, field, resolve(base, value));
  }
  return tree;
}

function get(tree: Tree, path: string): unknown {
  return path.split(".").reduce<unknown>((at, key) => (isTree(at) ? at[key] : undefined), tree);
}

function set(tree: Tree, path: string, value: unknown): void {
  const keys = path.split(".");
  const last = keys.pop() as string;
  let at = tree;
  for (const key of keys) {
    if (!isTree(at[key])) at[key] = {};
    at = at[key] as Tree;
  }
  at[last] = value;
}

function merge(weak: Tree, strong: Tree): Tree {
  const out: Tree = { ...weak };
  for (const [key, value] of Object.entries(strong)) {
    if (value === undefined) continue;
    const below = out[key];
    out[key] = isTree(below) && isTree(value) ? merge(below, value) : value;
  }
  return out;
}

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
