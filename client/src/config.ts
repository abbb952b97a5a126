import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type Deployment, type Hex, MarketError, parseDeployment, parseWith } from "@berth/protocol";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import type { TrustAnchors } from "./evidence/verify-evidence.ts";

const url = z.url({ protocol: /^https?$/, error: "must be an http(s) URL" });
const path = z.string().min(1);
const list = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (typeof value === "string" ? value.split(",").map((part) => part.trim()) : value),
    z.array(item),
  );
const wholeText = z.preprocess(
  (value) => (typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value),
  z.int(),
);

/** Every setting of `berth`. Lists may be written with commas. */
const configSchema = z.strictObject({
  /** Asked in this order. */
  rpcUrls: list(url)
    .refine((urls) => urls.length > 0, "must name one at least")
    .default(["http://127.0.0.1:8545"]),
  indexerUrl: url.optional(),
  /** JSON file that says where the market lives. */
  deploymentFile: path.optional(),
  /** File with the requester's private key, readable by its owner only. Reading needs none. */
  keyFile: path.optional(),
  /** Where specs, images, inputs and results are kept. */
  contentDir: path.optional(),
  /** Where age identities are kept that open encrypted outputs, readable by their owner only. */
  identityDir: path.optional(),
  /** Address that the content is served on while nodes may need it. */
  contentHost: z.string().min(1).default("127.0.0.1"),
  /** 0 takes a free one. */
  contentPort: wholeText.pipe(z.int().min(0).max(65_535)).default(0),
  /** How nodes reach that server. Absent: by the address it listens on. */
  contentUrl: url.optional(),
  /** Gateways asked for content besides those of nodes. */
  contentGateways: list(url).default([]),
  /** RPC of a Kubo daemon to hold content instead of the embedded store. */
  kuboUrl: url.optional(),
  /** JSON file: [{ "publicKey": "0x…", "kind": "software" | "hardware" }], whom to believe about TPMs. */
  tpmAuthoritiesFile: path.optional(),
  /** Symbol or address of the token to pay with. Absent: the deployment's first. */
  token: z.string().min(1).optional(),
  /** Milliseconds between two looks at the chain. */
  pollMs: wholeText.pipe(z.int().min(10).max(600_000)).default(500),
  logLevel: z.enum(["silent", "error", "warn", "info", "debug"]).default("silent"),
});

export type Config = z.infer<typeof configSchema> & { contentDir: string; identityDir: string };
type Setting = keyof z.infer<typeof configSchema>;
export type Settings = Partial<Record<Setting, unknown>>;

/** The environment variable behind each setting. */
export const environmentNames: Record<Setting, string> = {
  rpcUrls: "BERTH_RPC_URL",
  indexerUrl: "BERTH_INDEXER",
  deploymentFile: "BERTH_DEPLOYMENT",
  keyFile: "BERTH_KEY_FILE",
  contentDir: "BERTH_CONTENT_DIR",
  identityDir: "BERTH_IDENTITY_DIR",
  contentHost: "BERTH_CONTENT_HOST",
  contentPort: "BERTH_CONTENT_PORT",
  contentUrl: "BERTH_CONTENT_URL",
  contentGateways: "BERTH_CONTENT_GATEWAYS",
  kuboUrl: "BERTH_KUBO",
  tpmAuthoritiesFile: "BERTH_TPM_AUTHORITIES",
  token: "BERTH_TOKEN",
  pollMs: "BERTH_POLL_MS",
  logLevel: "BERTH_LOG_LEVEL",
};

const pathSettings = ["deploymentFile", "keyFile", "contentDir", "identityDir", "tpmAuthoritiesFile"] as const;

/** Where settings come from, strongest first. */
export interface ConfigSources {
  flags: Settings;
  env: Readonly<Record<string, string | undefined>>;
  /** `--config FILE`; absent: BERTH_CONFIG, or none. */
  file?: string | undefined;
  cwd: string;
}

/** Flags over environment over file over defaults. Throws CONFIG_INVALID, CONFIG_UNREADABLE. */
export function loadConfig({ flags, env, file, cwd }: ConfigSources): Config {
  const named = file ?? env["BERTH_CONFIG"];
  const fromFile = named === undefined ? {} : readSettings(resolve(cwd, named));
  const fromEnv = Object.fromEntries(
    Object.entries(environmentNames).flatMap(([setting, name]) =>
      env[name] === undefined ? [] : [[setting, env[name]]],
    ),
  );
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
  const merged = { ...fromFile, ...resolvePaths(fromEnv, cwd), ...resolvePaths(given, cwd) };
  const config = parseWith(configSchema, merged, { code: "CONFIG_INVALID", what: "The configuration" });
  const home = join(env["XDG_DATA_HOME"] ?? join(homedir(), ".local", "share"), "berth");
  const { contentDir = join(home, "content"), identityDir = join(home, "identities") } = config;
  return { ...config, contentDir, identityDir };
}

/** Throws CONFIG_MISSING, DEPLOYMENT_UNREADABLE, DEPLOYMENT_INVALID. */
export function readDeployment({ deploymentFile }: Pick<Config, "deploymentFile">): Deployment {
  if (deploymentFile === undefined) {
    throw new MarketError("CONFIG_MISSING", "Where the market lives is not set.", {
      hint: "Give --deployment FILE, set BERTH_DEPLOYMENT, or write deploymentFile into the configuration. A devnet prints its file.",
    });
  }
  return parseDeployment(readJson(deploymentFile, { code: "DEPLOYMENT_UNREADABLE", what: "The deployment record" }));
}

const authoritiesSchema = z.array(
  z.strictObject({
    publicKey: z
      .string()
      .regex(/^0x[0-9a-f]{64}$/, "must be 0x and 64 lower-case hexadecimal digits")
      .transform((text) => text as Hex),
    kind: z.enum(["software", "hardware"]),
  }),
);

/** Whom to believe about TPMs: nobody unless a file names them. Throws AUTHORITIES_UNREADABLE, AUTHORITIES_INVALID. */
export function readTrust({ tpmAuthoritiesFile: file }: Pick<Config, "tpmAuthoritiesFile">): TrustAnchors {
  if (file === undefined) return { tpmAuthorities: [] };
  const value = readJson(file, { code: "AUTHORITIES_UNREADABLE", what: "The file of TPM authorities" });
  const what = { code: "AUTHORITIES_INVALID", what: "The file of TPM authorities" };
  return { tpmAuthorities: parseWith(authoritiesSchema, value, what) };
}

function readJson(file: string, { code, what }: { code: string; what: string }): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new MarketError(code, `${what} ${file} cannot be read: ${(cause as Error).message}`, {
      hint: "It is a JSON file.",
      cause,
    });
  }
}

function readSettings(file: string): Settings {
  let value: unknown;
  try {
    value = parseYaml(readFileSync(file, "utf8")) ?? {};
  } catch (cause) {
    throw new MarketError(
      "CONFIG_UNREADABLE",
      `The configuration ${file} cannot be read: ${(cause as Error).message}`,
      {
        hint: "It is a YAML file of settings.",
        cause,
      },
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new MarketError("CONFIG_INVALID", `${file} holds no settings.`);
  }
  return resolvePaths(value, dirname(file));
}

/** A relative path counts from where it was written. */
function resolvePaths(settings: Settings, base: string): Settings {
  const paths = pathSettings.flatMap((name) =>
    typeof settings[name] === "string" ? [[name, resolve(base, settings[name])]] : [],
  );
  return { ...settings, ...Object.fromEntries(paths) };
}
