import { isNode } from "../replicas.ts";
import { type Calls, type Rule, those } from "../scene.ts";
import { acceptedKey, noUse, put } from "../storage.ts";

export const bumpEpoch: Rule<Calls["bumpEpoch"]> = {
  refusals: (scene, { operator }) => those({ NotNode: !isNode(scene, operator) }),
  outcome: ({ storage }, { operator }) => {
    const use = storage.uses[operator] ?? noUse;
    return put(storage, "uses", operator, { ...use, epoch: use.epoch + 1 });
  },
};

export const setNodeLimits: Rule<Calls["setNodeLimits"]> = {
  refusals: ({ by }, { operator }) => those({ NotController: by !== operator }),
  outcome: ({ storage }, { operator, limits }) => put(storage, "limits", operator, limits),
};

export const setAccepted: Rule<Calls["setAccepted"]> = {
  refusals: ({ by }, { operator }) => those({ NotController: by !== operator }),
  outcome: ({ storage }, { operator, what, accepted }) =>
    what.reduce((before, each) => put(before, "accepted", acceptedKey(operator, each), accepted), storage),
};

export const setPaused: Rule<Calls["setPaused"]> = {
  refusals: ({ by, facts }) => those({ NotGuardian: by !== facts.guardian }),
  outcome: ({ storage }, { paused }) => ({ ...storage, paused }),
};
