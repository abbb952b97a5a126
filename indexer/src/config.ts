import { readFile, stat } from "node:fs/promises";
import { type Deployment, type Hex, MarketError, parseDeployment, parseWith } from "@berth/protocol";
import { z } from "zod";
import { type ConfiguredRole, roles } from "./cluster/role.ts";
import type { ApiLimits } from "./http/limits.ts";
import { DEFAULT_INTAKE, type IntakeLimits } from "./intake/limits.ts";
import { DEFAULT_GAS_POLICY, type GasPolicy, parseTipWorth } from "./match/gas-policy.ts";
import { peerUrl } from "./peers/peer-url.ts";

/** Everything that an indexer is told. Read once, at the start. */
export interface IndexerConfig {
  deployment: Deployment;
  rpcUrls: string[];
  /** Folder of the embedded database. */
  dataFolder: string;
  /** A PostgreSQL server instead of the embedded database. */
  databaseUrl?: string | undefined;
  /** Beside others on one server: may it lead? `auto` without it. */
  role?: ConfiguredRole | undefined;
  host: string;
  /** 0: any free port. */
  port: number;
  /** Private key of the account that sends matches; without it, this indexer only answers questions. */
  matcherKey?: Hex | undefined;
  /** What the matcher spends on gas; sensible bounds without it. */
  gasPolicy?: GasPolicy | undefined;
  /** Blocks on top of a block before it is indexed; 0: at once, rolled back when the chain changes its mind. */
  confirmations: number;
  /** Blocks on top of a match before it is final. */
  finality: number;
  /** Wait between looks at the chain's head, in milliseconds. */
  pollMs: number;
  /** What one address may ask of the API; sensible bounds without it. */
  limits?: Partial<ApiLimits> | undefined;
  /** What is taken of anybody's orders; sensible bounds without it. */
  intake?: Partial<IntakeLimits> | undefined;
  /** Other indexers to read orders from, besides those that the registry and they themselves name. */
  peers?: { urls?: string[]; allowPrivate?: boolean; pollMs?: number } | undefined;
}

const wei = z
  .string()
  .regex(/^\d{1,60}$/)
  .transform(BigInt);

const upToMillion = z.coerce.number().int().min(1).max(1_000_000);
const upToDecade = z.coerce
  .number()
  .int()
  .min(60)
  .max(10 * 365 * 24 * 3600);

/** What may be said by a flag or, under the name in capitals, by the environment. */
const settingsSchema = z.strictObject({
  deployment: z.string().min(1),
  rpc: z.array(z.string().min(1)).min(1),
  data: z.string().min(1),
  databaseUrl: z.string().min(1).optional(),
  role: z.enum(roles),
  host: z.string().min(1),
  port: z.coerce.number().int().min(0).max(65_535),
  matcherKeyFile: z.string().min(1).optional(),
  tipWorth: z.array(z.string().min(1)),
  givenGas: wei.optional(),
  lostGas: wei.optional(),
  dailyGas: wei.optional(),
  confirmations: z.coerce.number().int().min(0).max(10_000),
  finality: z.coerce.number().int().min(0).max(10_000),
  pollMs: z.coerce.number().int().min(10).max(600_000),
  peer: z
    .array(z.string().refine((text) => peerUrl(text) !== undefined, "must be the http or https URL of an indexer"))
    .max(32)
    .transform((urls) => urls.map((url) => peerUrl(url) ?? url)),
  allowPrivatePeers: z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")]),
  offersPerOperator: upToMillion.optional(),
  requestsPerPayer: upToMillion.optional(),
  offerSeconds: upToDecade.optional(),
  requestSeconds: upToDecade.optional(),
});

export interface Flags {
  deployment?: string;
  rpc?: string[];
  data?: string;
  role?: string;
  host?: string;
  port?: string;
  matcherKeyFile?: string;
  tipWorth?: string[];
  givenGas?: string;
  lostGas?: string;
  dailyGas?: string;
  confirmations?: string;
  finality?: string;
  pollMs?: string;
  peer?: string[];
  allowPrivatePeers?: boolean;
  offersPerOperator?: string;
  requestsPerPayer?: string;
  offerSeconds?: string;
  requestSeconds?: string;
}

/** Flags before environment before defaults. Throws CONFIG_INVALID, DEPLOYMENT_UNREADABLE, MATCHER_KEY_INVALID, KEY_EXPOSED. */
export async function readConfig(flags: Flags, env: NodeJS.ProcessEnv): Promise<IndexerConfig> {
  const settings = parseWith(
    settingsSchema,
    {
      deployment: flags.deployment ?? env["BERTH_DEPLOYMENT"],
      rpc: flags.rpc ?? env["BERTH_RPC_URL"]?.split(","),
      data: flags.data ?? env["BERTH_INDEXER_DATA"] ?? "berth-indexer-data",
      databaseUrl: env["DATABASE_URL"],
      role: flags.role ?? env["BERTH_ROLE"] ?? "auto",
      host: flags.host ?? env["BERTH_INDEXER_HOST"] ?? "127.0.0.1",
      port: flags.port ?? env["BERTH_INDEXER_PORT"] ?? 8480,
      matcherKeyFile: flags.matcherKeyFile ?? env["BERTH_MATCHER_KEY_FILE"],
      tipWorth: flags.tipWorth ?? env["BERTH_TIP_WORTH"]?.split(",") ?? [],
      givenGas: flags.givenGas ?? env["BERTH_GIVEN_GAS"],
      lostGas: flags.lostGas ?? env["BERTH_LOST_GAS"],
      dailyGas: flags.dailyGas ?? env["BERTH_DAILY_GAS"],
      confirmations: flags.confirmations ?? env["BERTH_CONFIRMATIONS"] ?? 0,
      finality: flags.finality ?? env["BERTH_FINALITY"] ?? 5,
      pollMs: flags.pollMs ?? env["BERTH_POLL_MS"] ?? 1000,
      peer: flags.peer ?? env["BERTH_PEERS"]?.split(",") ?? [],
      allowPrivatePeers: flags.allowPrivatePeers ?? env["BERTH_ALLOW_PRIVATE_PEERS"] ?? false,
      offersPerOperator: flags.offersPerOperator ?? env["BERTH_OFFERS_PER_OPERATOR"],
      requestsPerPayer: flags.requestsPerPayer ?? env["BERTH_REQUESTS_PER_PAYER"],
      offerSeconds: flags.offerSeconds ?? env["BERTH_OFFER_SECONDS"],
      requestSeconds: flags.requestSeconds ?? env["BERTH_REQUEST_SECONDS"],
    },
    { code: "CONFIG_INVALID", what: "The indexer's configuration" },
  );
  if (settings.role === "replica" && settings.databaseUrl === undefined) {
    throw new MarketError(
      "CONFIG_INVALID",
      "A replica serves what another indexer writes, and has no database of its own.",
      {
        hint: "Set DATABASE_URL to the PostgreSQL server of the others, or leave the role away.",
      },
    );
  }
  return {
    deployment: await readDeployment(settings.deployment),
    rpcUrls: settings.rpc,
    dataFolder: settings.data,
    databaseUrl: settings.databaseUrl,
    role: settings.role,
    host: settings.host,
    port: settings.port,
    matcherKey: settings.matcherKeyFile === undefined ? undefined : await readKey(settings.matcherKeyFile),
    gasPolicy: {
      tipWorthX18: parseTipWorth(settings.tipWorth),
      givenPerDay: settings.givenGas ?? DEFAULT_GAS_POLICY.givenPerDay,
      lostPerDay: settings.lostGas ?? DEFAULT_GAS_POLICY.lostPerDay,
      mostPerDay: settings.dailyGas,
    },
    confirmations: settings.confirmations,
    finality: settings.finality,
    pollMs: settings.pollMs,
    intake: intakeLimits(settings),
    peers: { urls: settings.peer, allowPrivate: settings.allowPrivatePeers },
  };
}

/** Without stake or money an account gets its usual few, and never more than the others. */
function intakeLimits(settings: z.infer<typeof settingsSchema>): IntakeLimits {
  const { offersPerOperator, requestsPerPayer, maxOfferSeconds, maxRequestSeconds } = DEFAULT_INTAKE;
  const staked = settings.offersPerOperator ?? offersPerOperator.staked;
  const funded = settings.requestsPerPayer ?? requestsPerPayer.funded;
  return {
    ...DEFAULT_INTAKE,
    offersPerOperator: { staked, plain: Math.min(offersPerOperator.plain, staked) },
    requestsPerPayer: { funded, unfunded: Math.min(requestsPerPayer.unfunded, funded) },
    maxOfferSeconds: settings.offerSeconds ?? maxOfferSeconds,
    maxRequestSeconds: settings.requestSeconds ?? maxRequestSeconds,
  };
}

async function readDeployment(file: string): Promise<Deployment> {
  try {
    return parseDeployment(JSON.parse(await readFile(file, "utf8")));
  } catch (cause) {
    if (cause instanceof MarketError) throw cause;
    throw new MarketError("DEPLOYMENT_UNREADABLE", `The deployment record ${file} cannot be read as JSON.`, {
      hint: "Give the file that the deployment wrote with --deployment or BERTH_DEPLOYMENT.",
      cause,
    });
  }
}

async function readKey(file: string): Promise<Hex> {
  const unreadable = (cause: unknown): never => {
    throw new MarketError("MATCHER_KEY_INVALID", `The matcher key file ${file} cannot be read.`, { cause });
  };
  const { mode } = await stat(file).catch(unreadable);
  if ((mode & 0o077) !== 0 && process.platform !== "win32") {
    throw new MarketError("KEY_EXPOSED", `Others on this machine can open the matcher key file ${file}.`, {
      hint: `Run: chmod 600 ${file}. If anyone may have read it, replace the key.`,
    });
  }
  const text = (await readFile(file, "utf8").catch(unreadable)).trim();
  const key = text.startsWith("0x") ? text : `0x${text}`;
  if (/^0x[0-9a-fA-F]{64}$/.test(key)) return key.toLowerCase() as Hex;
  throw new MarketError("MATCHER_KEY_INVALID", `The file ${file} holds no private key.`, {
    hint: "It must hold 64 hexadecimal digits and nothing else.",
  });
}
