import { expect } from "chai";
import { provider } from "../support/actors.ts";
import { type Chain, send } from "./chain.ts";
import { expected } from "./model.ts";
import type { Move } from "./moves.ts";
import { plan } from "./plan.ts";
import type { Plan } from "./plans.ts";
import { readStorage } from "./read.ts";
import type { Answer } from "./scene.ts";
import { withoutZeros } from "./storage.ts";
import { remembered, replicaKeysOf, type Trace } from "./trace.ts";

/** How often each call succeeded, and how often each error came. */
export type Tally = Map<string, number>;

/** Makes `moves` on model and chain; both must come to the same, after every one where `everyStep`. Returns where that leads. */
export async function walk(chain: Chain, start: Trace, moves: readonly Move[], everyStep: boolean, tally: Tally) {
  let trace = start;
  for (const [step, move] of moves.entries()) {
    if (move.kind === "tell") {
      trace = await tell(chain, trace, move.answer);
      continue;
    }
    const next = plan(trace, move);
    if (next === undefined) continue;
    const what = `step ${step}, ${said(next, trace)}`;
    trace = await take(chain, trace, next, what, tally);
    if (everyStep) await expectSame(chain, trace, `storage after ${what}`);
  }
  if (!everyStep) await expectSame(chain, trace, "storage at the end");
  return trace;
}

async function take(chain: Chain, trace: Trace, next: Plan, step: string, tally: Tally): Promise<Trace> {
  const { call, by, now, order } = next;
  const { refusals, storage, items } = expected({ ...trace, by, now }, call);
  const sent = await send(chain, call, by, now);
  expectError(sent.error, refusals, step);
  for (const [item, wanted] of items.entries()) expectError(sent.items[item], wanted, `${step}, item ${item}`);
  for (const name of [sent.error ?? call.name, ...sent.items.map((error) => error ?? `${call.name} item`)]) {
    tally.set(name, (tally.get(name) ?? 0) + 1);
  }
  const orders = order === undefined ? trace.orders : [...trace.orders, order];
  const runs = refusals.length === 0 ? remembered(trace, call, items) : trace.runs;
  return { ...trace, latest: now, storage, orders, runs };
}

function expectError(error: string | undefined, refusals: readonly string[], step: string): void {
  if (refusals.length === 0) expect(error, `error of ${step}`).to.equal(undefined);
  else expect(error, `error of ${step}`).to.be.oneOf([...refusals]);
}

async function expectSame(chain: Chain, trace: Trace, what: string): Promise<void> {
  expect(await readStorage(chain, replicaKeysOf(trace)), what).to.deep.equal(withoutZeros(trace.storage));
}

/** Tells the verifier what to answer from now on. */
async function tell(chain: Chain, trace: Trace, answer: Answer): Promise<Trace> {
  const words: Record<Answer, number> = { pending: 0, stands: 1, fails: 2, void: 3, reverts: 0, burns: 0, nonsense: 4 };
  const word = `0x${words[answer].toString(16).padStart(64, "0")}`;
  const now = trace.latest + 1;
  await provider.request({ method: "evm_setNextBlockTimestamp", params: [now] });
  await chain.judge.set(word, 32, answer === "reverts", answer === "burns");
  return { ...trace, answer, latest: now };
}

function said({ call, by, now }: Plan, { latest }: Trace): string {
  const text = JSON.stringify(call.args, (_, value) => (typeof value === "bigint" ? String(value) : value));
  return `${call.name} by ${by} after ${now - latest} s: ${text}`;
}
