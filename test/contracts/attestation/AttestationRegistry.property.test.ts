import { expect } from "chai";
import fc from "fast-check";
import { ethers, time } from "../support/actors.ts";
import { believed, DAY, now, openRegistry, STATUS, type World } from "./support.ts";

const keys = [0, 1, 2].map((i) => new ethers.Wallet(ethers.id(`key ${i}`)));
const measurements = [0, 1].map((i) => ethers.id(`measurement ${i}`));
const platforms = [0, 1].map((i) => ethers.id(`platform ${i}`));

interface ModelRecord {
  validTo: number;
  challengeBlock: number;
  measurement: number;
  /** How often the measurement, and the verifier, had been allowed. */
  measurementEra: number;
  verifierEra: number;
  platform: number;
  tier: number;
}

/** The registry's rules, said without a chain. */
interface Model {
  records: (ModelRecord | undefined)[];
  revokedKeys: boolean[];
  revokedPlatforms: boolean[];
  measurements: { allowed: boolean; era: number }[];
  verifier: { allowed: boolean; era: number };
}

const anIndex = (count: number) => fc.integer({ min: 0, max: count - 1 });
const anEvent = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant("register" as const),
      key: anIndex(3),
      measurement: anIndex(2),
      platform: anIndex(2),
      tier: fc.integer({ min: 0, max: 3 }),
      lifetime: fc.integer({ min: -10, max: 2 * DAY }),
      blocksAgo: fc.integer({ min: 0, max: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("wait" as const), seconds: fc.integer({ min: 1, max: DAY }) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("revokeKey" as const), key: anIndex(3) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("togglePlatform" as const), platform: anIndex(2) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("toggleMeasurement" as const), measurement: anIndex(2) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("toggleVerifier" as const) }) },
);
type Event = typeof anEvent extends fc.Arbitrary<infer E> ? E : never;

describe("AttestationRegistry: any order of events", () => {
  it("knows of every key what the rules say, after every event", async function () {
    this.timeout(120_000);
    await fc.assert(
      fc.asyncProperty(fc.array(anEvent, { minLength: 1, maxLength: 25 }), async (events) => {
        const world = await openRegistry();
        for (const measurement of measurements)
          await world.registry.connect(world.measurementsHolder).allowMeasurement(measurement);
        const model: Model = {
          records: [undefined, undefined, undefined],
          revokedKeys: [false, false, false],
          revokedPlatforms: [false, false],
          measurements: measurements.map(() => ({ allowed: true, era: 1 })),
          verifier: { allowed: true, era: 1 },
        };
        for (const event of events) {
          await happens(world, model, event);
          await compare(world, model);
        }
      }),
      { numRuns: 40 },
    );
  });
});

async function happens(world: World, model: Model, event: Event): Promise<void> {
  const { registry } = world;
  if (event.type === "wait") {
    await time.increase(event.seconds);
  } else if (event.type === "revokeKey") {
    if (model.revokedKeys[event.key]) return;
    await registry.connect(world.keysHolder).revokeKey(keys[event.key]);
    model.revokedKeys[event.key] = true;
  } else if (event.type === "togglePlatform") {
    const revoked = model.revokedPlatforms[event.platform];
    const asHolder = registry.connect(world.platformsHolder);
    await asHolder[revoked ? "reinstatePlatform" : "revokePlatform"](platforms[event.platform]);
    model.revokedPlatforms[event.platform] = !revoked;
  } else if (event.type === "toggleMeasurement") {
    const entry = model.measurements[event.measurement];
    if (entry === undefined) throw new Error("unreachable");
    const asHolder = registry.connect(world.measurementsHolder);
    await asHolder[entry.allowed ? "revokeMeasurement" : "allowMeasurement"](measurements[event.measurement]);
    toggle(entry);
  } else if (event.type === "toggleVerifier") {
    const asHolder = registry.connect(world.verifiersHolder);
    await asHolder[model.verifier.allowed ? "revokeVerifier" : "allowVerifier"](world.believer);
    toggle(model.verifier);
  } else {
    await register(world, model, event);
  }
}

async function register(world: World, model: Model, event: Extract<Event, { type: "register" }>): Promise<void> {
  const [key, measurement, platform] = [keys[event.key], measurements[event.measurement], platforms[event.platform]];
  const listed = model.measurements[event.measurement];
  if (key === undefined || measurement === undefined || platform === undefined || listed === undefined)
    throw new Error("unreachable");
  const challengeBlock = (await world.on.provider.getBlockNumber()) - event.blocksAgo;
  const at = (await now(world)) + 1;
  const validTo = at + event.lifetime;
  const over = { measurement, platform, validTo, tier: event.tier };
  const { claim, evidence, consent } = await believed(world, key, over, challengeBlock);
  await time.setNextBlockTimestamp(at);
  const accepted =
    model.verifier.allowed &&
    validTo >= at &&
    event.tier > 0 &&
    listed.allowed &&
    !model.revokedPlatforms[event.platform] &&
    !model.revokedKeys[event.key] &&
    challengeBlock > (model.records[event.key]?.challengeBlock ?? 0);
  const sent = world.registry.connect(world.stranger).register(world.believer, evidence, claim, consent);
  const outcome = await sent.then(
    () => true,
    () => false,
  );
  expect(outcome, "accepted").to.equal(accepted);
  if (!accepted) return;
  model.records[event.key] = {
    validTo: Math.min(validTo, at + DAY),
    challengeBlock,
    measurement: event.measurement,
    measurementEra: listed.era,
    verifierEra: model.verifier.era,
    platform: event.platform,
    tier: event.tier,
  };
}

async function compare(world: World, model: Model): Promise<void> {
  const at = await now(world);
  for (const [i, key] of keys.entries()) {
    const status = await world.registry.statusOf(key.address);
    expect(status, `key ${i}`).to.equal(STATUS[statusBy(model, i, at)]);
    const [, validTo, tier, measurement, platform] = await world.registry.keyOf(key.address);
    const record = model.records[i];
    const known =
      status === STATUS.Good && record !== undefined
        ? [BigInt(record.validTo), BigInt(record.tier), measurements[record.measurement], platforms[record.platform]]
        : [0n, 0n, ethers.ZeroHash, ethers.ZeroHash];
    expect([validTo, tier, measurement, platform], `key ${i}`).to.deep.equal(known);
  }
}

function statusBy(model: Model, i: number, at: number): keyof typeof STATUS {
  const record = model.records[i];
  if (model.revokedKeys[i]) return "KeyRevoked";
  if (record === undefined) return "Unknown";
  if (record.validTo < at) return "Expired";
  const { verifier, measurements: listed } = model;
  if (!verifier.allowed || record.verifierEra !== verifier.era) return "VerifierRevoked";
  const entry = listed[record.measurement];
  if (!entry?.allowed || record.measurementEra !== entry.era) return "MeasurementRevoked";
  return model.revokedPlatforms[record.platform] ? "PlatformRevoked" : "Good";
}

function toggle(entry: { allowed: boolean; era: number }): void {
  if (!entry.allowed) entry.era++;
  entry.allowed = !entry.allowed;
}
