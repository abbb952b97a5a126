import fc from "fast-check";
import type { Answer, CallName } from "./scene.ts";
import { anyShape, type Shape } from "./shape.ts";

/** What is wrong with a call on purpose. */
export type Flaw = "none" | "caller" | "amount" | "terms" | "claim" | "order" | "state";

/** One thing that somebody does, said without knowing what there will be: `plan` turns it into a call. */
export interface Move {
  kind: Kind;
  /** Which of the things, and which of the people, that fit. */
  pick: number;
  /** Hundredths of what there is. */
  share: number;
  flaw: Flaw;
  /** Soon, or at the last second of something, or one later. */
  when: "soon" | "at" | "after";
  shape: Shape;
  answer: Answer;
}
export type Kind = CallName | "tell" | "matchPosted";

const kinds: readonly (readonly [Kind, number])[] = [
  ["deposit", 2],
  ["withdraw", 2],
  ["stake", 2],
  ["requestExit", 1],
  ["cancelExit", 1],
  ["exit", 1],
  ["collect", 2],
  ["post", 6],
  ["cancel", 2],
  ["matchJob", 14],
  ["matchPosted", 4],
  ["accept", 4],
  ["decline", 5],
  ["submit", 14],
  ["approve", 3],
  ["dispute", 6],
  ["rule", 5],
  ["finalize", 10],
  ["claim", 7],
  ["topUp", 4],
  ["close", 6],
  ["matchMany", 2],
  ["finalizeMany", 3],
  ["bumpEpoch", 1],
  ["setNodeLimits", 1],
  ["setAccepted", 1],
  ["setPaused", 1],
  ["tell", 5],
];
const flaws: readonly (readonly [Flaw, number])[] = [
  ["none", 24],
  ["caller", 1],
  ["amount", 1],
  ["terms", 1],
  ["claim", 1],
  ["order", 2],
  ["state", 1],
];

export const anyMove: fc.Arbitrary<Move> = fc.record({
  kind: weighted(kinds),
  pick: fc.nat(10_000),
  share: fc.oneof(fc.constantFrom(0, 100), fc.nat(100)),
  flaw: weighted(flaws),
  when: weighted([
    ["soon", 6],
    ["at", 2],
    ["after", 2],
  ] as const),
  shape: anyShape,
  answer: weighted([
    ["stands", 3],
    ["pending", 3],
    ["fails", 2],
    ["void", 2],
    ["reverts", 1],
    ["burns", 1],
    ["nonsense", 1],
  ] as const),
});

function weighted<Value>(values: readonly (readonly [Value, number])[]): fc.Arbitrary<Value> {
  return fc.constantFrom(...values.flatMap(([value, weight]) => new Array<Value>(weight).fill(value)));
}
