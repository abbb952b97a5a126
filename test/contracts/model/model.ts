import { decline } from "./rules/decline.ts";
import { dispute, rule } from "./rules/disputes.ts";
import { claim, close, topUp } from "./rules/leases.ts";
import { deposit, withdraw } from "./rules/ledger.ts";
import { accept, matchJob } from "./rules/matching.ts";
import { bumpEpoch, setAccepted, setNodeLimits, setPaused } from "./rules/nodes.ts";
import { cancel, post } from "./rules/requests.ts";
import { approve, finalize, submit } from "./rules/results.ts";
import { cancelExit, collect, exit, requestExit, stake } from "./rules/staking.ts";
import type { Call, CallName, Calls, Rule, Scene } from "./scene.ts";
import type { Storage } from "./storage.ts";

type Single = Exclude<CallName, "matchMany" | "finalizeMany">;
const rules: { [Name in Single]: Rule<Calls[Name]> } = {
  deposit,
  withdraw,
  stake,
  requestExit,
  cancelExit,
  exit,
  collect,
  post,
  cancel,
  matchJob,
  accept,
  decline,
  submit,
  approve,
  dispute,
  rule,
  finalize,
  claim,
  topUp,
  close,
  bumpEpoch,
  setNodeLimits,
  setAccepted,
  setPaused,
};

/** What the manual expects of a call. */
export interface Expected {
  /** Any of these errors; none: the call succeeds. */
  refusals: string[];
  storage: Storage;
  /** Of a batch, for each item: the errors that it may fail with; none: it succeeds. */
  items: string[][];
}

/** The market by its manual. Pure: everything that it depends on is in `scene`. */
export function expected(scene: Scene, call: Call): Expected {
  if (call.name === "matchMany") return each(scene, matchJob, call.args.items);
  if (call.name === "finalizeMany") return each(scene, finalize, call.args.items);
  return { ...one(scene, rules[call.name] as Rule<unknown>, call.args), items: [] };
}

function one<Args>(scene: Scene, by: Rule<Args>, args: Args) {
  const refusals = by.refusals(scene, args);
  return { refusals, storage: refusals.length === 0 ? by.outcome(scene, args) : scene.storage };
}

/** Each succeeds or fails alone, the one after the other. */
function each<Args>(scene: Scene, by: Rule<Args>, args: Args[]): Expected {
  const items: string[][] = [];
  let { storage } = scene;
  for (const item of args) {
    const after = one({ ...scene, storage }, by, item);
    items.push(after.refusals);
    storage = after.storage;
  }
  return { refusals: [], storage, items };
}
