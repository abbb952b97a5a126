import { type Address, ZERO_ADDRESS } from "@berth/protocol";
import type { Config } from "../config.ts";

/** Everything that one kind of offer says: the settings under `offers`, with what a profile says otherwise. */
export interface Profile extends Omit<Config["offers"], "profiles"> {
  name: string;
}

/** The kinds of offers to make: each profile on top of the settings, or those alone where there is none. Pure. */
export function profilesOf({ profiles, ...base }: Config["offers"]): Profile[] {
  const named = Object.entries(profiles);
  if (named.length === 0) return [{ ...base, name: "default" }];
  return named.map(([name, own]) => ({ ...base, ...withoutAbsent(own), name }));
}

/** For whom offers of a profile are signed, one each; the zero address is everybody. Pure. */
export function requestersOf({ allow }: Pick<Profile, "allow">): Address[] {
  return allow.length === 0 ? [ZERO_ADDRESS] : [...new Set(allow)];
}

function withoutAbsent<T extends object>(settings: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
