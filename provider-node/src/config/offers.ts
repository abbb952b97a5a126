import { addressSchema, bytes32Schema, traitNames, ZERO_BYTES32 } from "@berth/protocol";
import { z } from "zod";
import { amount, seconds, short } from "./fields.ts";

/** Gas of `submit`, which a node pays for every job: "signed request: submit" in bench/gas.snapshot.json, rounded up. */
export const SUBMIT_GAS = 56_000;
/** Offers that one node may keep at the indexers: each is signed and posted anew at every refresh. */
const MAX_OFFERS = 64;

/** An exact decimal, like `1.25`. YAML's numbers are taken as they are written. */
const factor = z.preprocess(
  (value) => (typeof value === "number" ? String(value) : value),
  z.string().regex(/^\d{1,6}(\.\d{1,6})?$/, 'must be a decimal like "1.25"'),
);
const timeZone = z.string().refine(isTimeZone, 'must be a time zone like "UTC" or "Europe/Berlin"');

/** What an offer says, and a profile may say otherwise. */
const terms = {
  /** ERC-20 that the node is paid in. Absent: the node makes no offers. */
  token: addressSchema.optional(),
  /** Token units per thousandth of a core and second, scaled by 1e18; the three below likewise per MiB or GPU. */
  cpuRateX18: amount,
  memoryRateX18: amount,
  diskRateX18: amount,
  gpuRateX18: amount,
  /** Token units earned by any result. */
  baseCharge: amount,
  /** Prices by the hour of the day, `from` up to before `to`, also over midnight: all of them times `factor`. The first entry that holds counts. */
  hours: z
    .array(
      z
        .strictObject({ from: z.int().min(0).max(23), to: z.int().min(1).max(24), factor })
        .refine(({ from, to }) => from !== to, 'must have a "to" other than its "from"'),
    )
    .max(24),
  /** Whose hours they are. */
  timeZone,
  /** No offer asks for a smaller base charge than what a job costs this node in gas, times `factor`. */
  gas: z
    .strictObject({
      /** Token units that the chain's coin (1e18 wei) is worth. */
      tokenUnitsPerEther: amount,
      factor: factor.default("1"),
      gasPerJob: z.int().min(1).max(30_000_000).default(SUBMIT_GAS),
    })
    .optional(),
  /** Of the capacity: it is matched only while all jobs together, the new one included, use no more than this. */
  sharePercent: z.int().min(1).max(100),
  /** Requesters that it is for, an offer for each. Empty: for everybody. */
  allow: z.array(addressSchema).max(16),
  maxSeconds: seconds.min(1),
  minSubmitMargin: seconds,
  maxSettleSeconds: seconds,
  maxBond: amount,
  maxCompensationBps: z.int().min(0).max(1000),
  /** Who judges results. Only verifiers that need no proof from the node: it gives none. */
  verifier: z.strictObject({ address: addressSchema, data: bytes32Schema.default(ZERO_BYTES32) }).optional(),
  /** Who rules on disputes, for how many token units. */
  arbiter: z
    .strictObject({ address: addressSchema, data: bytes32Schema.default(ZERO_BYTES32), fee: amount.default(0n) })
    .optional(),
  region: short,
  gpuModel: short,
  /** Traits never to be claimed, though this machine has them. */
  withhold: z.array(z.enum(traitNames)),
};

const profileSchema = z.strictObject(terms).partial();

/** What the node asks for its work, and what it takes on. */
export const offersSchema = z
  .strictObject({
    ...terms,
    cpuRateX18: terms.cpuRateX18.default(0n),
    memoryRateX18: terms.memoryRateX18.default(0n),
    diskRateX18: terms.diskRateX18.default(0n),
    gpuRateX18: terms.gpuRateX18.default(0n),
    baseCharge: terms.baseCharge.default(0n),
    hours: terms.hours.default([]),
    timeZone: terms.timeZone.default("UTC"),
    sharePercent: terms.sharePercent.default(100),
    allow: terms.allow.default([]),
    maxSeconds: terms.maxSeconds.default(86_400),
    minSubmitMargin: terms.minSubmitMargin.default(60),
    maxSettleSeconds: terms.maxSettleSeconds.default(7 * 86_400),
    maxBond: terms.maxBond.default(0n),
    maxCompensationBps: terms.maxCompensationBps.default(0),
    region: terms.region.default(""),
    gpuModel: terms.gpuModel.default(""),
    withhold: terms.withhold.default([]),
    /** Offers of their own, each by its name: what it says replaces what is said above. None: one offer, as said above. */
    profiles: z
      .record(z.string().regex(/^[a-z0-9-]{1,32}$/, "must be small letters, digits or -"), profileSchema)
      .default({}),
    /** Requesters whose posted requests are left alone and whose matches are given back. */
    deny: z.array(addressSchema).default([]),
    /** Give back what was refused even where another decline within the hour costs 1 % of the deposit, out of the bond. */
    declineAtCost: z.boolean().default(false),
    /** The most that all jobs together may use. Absent: what this machine has, less a reserve. */
    capacity: z
      .strictObject({
        cpuMilli: z.int().min(10),
        memoryMiB: z.int().min(8),
        diskMiB: z.int().min(1),
      })
      .optional(),
    maxActive: z.int().min(1).max(1000).default(16),
    ttlSeconds: z
      .int()
      .min(10)
      .max(7 * 86_400)
      .default(600),
    refreshSeconds: z.int().min(1).default(120),
  })
  .refine(({ allow, profiles }) => offersIn(allow, Object.values(profiles)) <= MAX_OFFERS, {
    error: `must not come to more than ${MAX_OFFERS} offers: one for each profile, or for each requester that it allows`,
    path: ["profiles"],
  });

function offersIn(allow: readonly string[], profiles: readonly { allow?: readonly string[] | undefined }[]): number {
  return profiles.reduce((sum, profile) => sum + Math.max(1, (profile.allow ?? allow).length), 0);
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
