import { expect } from "chai";
import type { ContractTransactionResponse, EventLog } from "ethers";
import fc from "fast-check";
import { type Actor, ethers, loadFixture, time } from "../support/actors.ts";
import { DAY, type Deployed, deployedMarket, text32 } from "../support/market.ts";
import * as sign from "./signed-calls.ts";
import { type Call, send, signCall } from "./signed-calls.ts";

const HOUR = 3600;
const KINDS = ["veriKey", "sigAuth"];

type MakeCall = (on: Deployed, keys: Actor[], owners: Actor[]) => Call | Promise<Call>;
/** One step of a trace. A `signed` call is sent by a stranger. */
type Step =
  | { does: "call"; call: MakeCall; signed: boolean }
  | { does: "burn"; count: number }
  | { does: "wait"; seconds: number }
  | { does: "replay"; which: number };

const key = fc.nat(2);
const kind = fc.constantFrom(...KINDS);
const index = fc.nat(1);
const seconds = fc.constantFrom(600, HOUR, DAY);
const pick = <T>(from: T[], at: number): T => {
  const found = from[at % from.length];
  if (found === undefined) throw new Error("There is nobody to pick from.");
  return found;
};
const call: fc.Arbitrary<MakeCall> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ key, index, seconds }).map(publishing) },
  { weight: 2, arbitrary: index.map((at) => (on: Deployed) => sign.revokeNode(on.operator, at)) },
  { weight: 2, arbitrary: fc.record({ key, kind, seconds }).map(adding) },
  { weight: 1, arbitrary: fc.record({ key, kind }).map(revoking) },
  { weight: 1, arbitrary: fc.nat(1).map(giving) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ does: fc.constant("call" as const), call, signed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ does: fc.constant("burn" as const), count: fc.nat(3) }) },
  { weight: 3, arbitrary: fc.record({ does: fc.constant("wait" as const), seconds }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant("replay" as const), which: fc.nat(50) }) },
);
/** A trace, and after which of its steps the identity is deactivated, if at all. */
const trace = fc.record({
  steps: fc.array(step, { minLength: 5, maxLength: 25 }),
  endsAfter: fc.option(fc.nat(25), { freq: 2 }),
});

describe("IdentityRegistry, whatever is called in whatever order", () => {
  it("agrees with its events, takes a nonce once, and stays deactivated", async () => {
    await fc.assert(
      fc.asyncProperty(trace, async ({ steps, endsAfter }) => {
        const world = await aWorld();
        for (const [at, step] of steps.entries()) {
          await take(world, step);
          if (at === endsAfter) await end(world);
          await check(world);
        }
      }),
      { numRuns: 60 },
    );
  });
});

interface World {
  on: Deployed;
  keys: Actor[];
  owners: Actor[];
  controller: Actor;
  /** Until when each delegate is one, as the events have it. */
  said: Map<string, bigint>;
  /** What was signed and used up. */
  spent: { call: Call; signed: { deadline: number; signature: string } }[];
  nonce: bigint;
  ended: boolean;
}

async function aWorld(): Promise<World> {
  const on = await loadFixture(deployedMarket);
  const [keys, owners] = [
    [on.nodeKey, on.newNodeKey, on.otherNodeKey],
    [on.operator, on.heir],
  ];
  return { on, keys, owners, controller: on.operator, said: new Map(), spent: [], nonce: 0n, ended: false };
}

async function take(world: World, step: Step): Promise<void> {
  const { on, keys, owners, controller } = world;
  const { identity, operator, stranger } = on;
  if (step.does === "wait") return void (await time.increase(step.seconds));
  if (step.does === "burn") return void (await identity.connect(controller).burnNonces(operator, step.count));
  if (step.does === "replay") {
    if (world.spent.length === 0) return;
    const { call, signed } = pick(world.spent, step.which);
    const late = (await time.latest()) >= signed.deadline;
    const error = late ? "DeadlinePassed" : "BadControllerSignature";
    await expect(send(on, stranger, call, signed)).to.be.revertedWithCustomError(identity, error);
    return;
  }
  const call = await step.call(on, keys, owners);
  const signed = await signCall(on, controller, call);
  const name = `${call.type.charAt(0).toLowerCase()}${call.type.slice(1)}` as "changeOwner";
  const direct = () => identity.connect(controller)[name](...call.args);
  const sent = await refusedOr(on, step.signed ? send(on, stranger, call, signed) : direct());
  if (sent === undefined) return;
  if (step.signed) world.spent.push({ call, signed });
  await listen(world, sent);
}

async function end(world: World): Promise<void> {
  const { identity, operator } = world.on;
  await identity.connect(world.controller).changeOwner(operator, ethers.ZeroAddress);
  world.ended = true;
}

/** Traces may ask for what is not allowed; the answer is then an error of the registry and never a panic. */
async function refusedOr(on: Deployed, sending: Promise<ContractTransactionResponse>) {
  try {
    return await sending;
  } catch (error) {
    const data = (error as { data?: string }).data ?? "0x";
    const expected = ["KeyTaken", "NodeUnknown", "DelegateIsNodeKey", "IdentityDeactivated"];
    expect(on.identity.interface.parseError(data)?.name).to.be.oneOf(expected);
    return undefined;
  }
}

async function listen(world: World, sent: ContractTransactionResponse): Promise<void> {
  const { owners, said } = world;
  for (const log of (await sent.wait())?.logs ?? []) {
    const { eventName, args } = log as EventLog;
    if (eventName === "DIDOwnerChanged") {
      world.controller = owners.find(({ address }) => address === args["owner"]) ?? world.controller;
    }
    if (eventName === "DIDDelegateChanged") said.set(`${args["delegateType"]} ${args["delegate"]}`, args["validTo"]);
  }
}

async function check(world: World): Promise<void> {
  const { on, keys, said, ended } = world;
  const { identity, operator } = on;
  expect(await identity.controllerOf(operator)).to.equal(world.controller.address);
  const now = BigInt(await time.latest());
  expect(await identity.deactivated(operator)).to.equal(ended);
  for (const key of keys) {
    for (const kind of KINDS) {
      const events = !ended && (said.get(`${text32(kind)} ${key.address}`) ?? 0n) >= now;
      expect(await identity.validDelegate(operator, text32(kind), key), `${kind} ${key.address}`).to.equal(events);
    }
  }
  const nonce = (await identity.nonceOf(operator)) as bigint;
  expect(nonce, "nonces only grow").to.be.at.least(world.nonce);
  world.nonce = nonce;
}

interface Chosen {
  key: number;
  index: number;
  kind: string;
  seconds: number;
}

function publishing({ key, index, seconds }: Pick<Chosen, "key" | "index" | "seconds">) {
  return async (on: Deployed, keys: Actor[]) =>
    await sign.publishNode(on, on.operator, pick(keys, key), { index, validTo: (await time.latest()) + seconds });
}

function adding({ key, kind, seconds }: Pick<Chosen, "key" | "kind" | "seconds">) {
  return (on: Deployed, keys: Actor[]) => sign.addDelegate(on.operator, kind, pick(keys, key), seconds);
}

function revoking({ key, kind }: Pick<Chosen, "key" | "kind">) {
  return (on: Deployed, keys: Actor[]) => sign.revokeDelegate(on.operator, kind, pick(keys, key));
}

function giving(to: number) {
  return (on: Deployed, _keys: Actor[], owners: Actor[]) => sign.changeOwner(on.operator, pick(owners, to).address);
}
