import type { Hex } from "@berth/protocol";

/** "berth" and the version of what follows. */
const TAG = "626572746801";
const ROOT = /626572746801([0-9a-f]{64})$/;

/** Writes the root behind the arguments of a call. The market reads its arguments and nothing behind them. */
export function withRoot(callData: Hex, root: Hex): Hex {
  return `${callData}${TAG}${root.slice(2)}`;
}

/** The root that a call carries; undefined when it carries none. */
export function rootIn(callData: Hex): Hex | undefined {
  const root = ROOT.exec(callData.toLowerCase())?.[1];
  return root === undefined ? undefined : `0x${root}`;
}
