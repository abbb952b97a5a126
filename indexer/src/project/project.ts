import type { MarketEvent } from "../decode/events.ts";
import { projectIdentity } from "./identity.ts";
import { projectMarket } from "./market.ts";
import { projectStaking } from "./staking.ts";
import type { State } from "./state.ts";

/** Applies one event to the projected rows. Deterministic: rows depend on the events before it and on nothing else. */
export async function project(item: MarketEvent, state: State): Promise<void> {
  if (item.contract === "identity") await projectIdentity(item.event, state);
  else if (item.contract === "staking") await projectStaking(item.event, state);
  else await projectMarket(item.event, state);
}
