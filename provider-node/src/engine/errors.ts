import { MarketError } from "@berth/protocol";

/** What every engine says of an image that `importImage` did not bring. */
export function notImported(digest: string): MarketError {
  return new MarketError("IMAGE_NOT_IMPORTED", `The image ${digest} is not in this node's store.`, {
    hint: "Import it before preparing the attempt.",
  });
}

/** What an engine says that has no gVisor, of an attempt that asks for it: plain namespaces are not what was bought. */
export function noGvisor(engine: string): MarketError {
  return new MarketError("SPEC_REFUSED", `The ${engine} engine cannot run jobs in gVisor.`, {
    hint: "Ask for a node with the trait isolation-gvisor.",
  });
}

/** Why an engine cannot be released. */
export function stillBusy(attempts: number): MarketError {
  return new MarketError("ENGINE_BUSY", `${attempts} attempts are not cleaned up yet.`, {
    hint: "Clean them up, or reap them, before releasing the engine.",
  });
}
