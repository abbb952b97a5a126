import { type Hex, MarketError } from "@berth/protocol";
import {
  type Abi,
  type AbiEvent,
  type AbiParameter,
  type ContractEventName,
  decodeAbiParameters,
  type GetEventArgs,
  toEventSelector,
} from "viem";
import type { RawLog } from "./parse.ts";

/** A decoded log. `eventName` tells which shape `args` has; `log` is the log itself. */
export type DecodedLog<abi extends Abi> = {
  [name in ContractEventName<abi>]: {
    eventName: name;
    args: GetEventArgs<abi, name, { EnableUnion: false; IndexedOnly: false; Required: true }>;
    log: RawLog;
  };
}[ContractEventName<abi>];

type Decode = (log: RawLog) => { eventName: string; args: Record<string, unknown> };
const compiled = new WeakMap<Abi, Map<string, Decode>>();

/**
 * Decodes the logs that are events of `abi`, in order; other topics are left out. Each event is compiled once per ABI
 * object, so pass the same object every time. Throws `EVENT_MALFORMED` when a log's bytes do not fit its event.
 */
export function decodeLogs<const abi extends Abi>(abi: abi, logs: readonly RawLog[]): DecodedLog<abi>[] {
  let decoders = compiled.get(abi);
  if (decoders === undefined) {
    const events = abi.filter((item): item is AbiEvent => item.type === "event" && !item.anonymous);
    decoders = new Map(events.map((event) => [keyOf(toEventSelector(event), indexedOf(event).length), compile(event)]));
    compiled.set(abi, decoders);
  }
  const decoded: DecodedLog<abi>[] = [];
  for (const log of logs) {
    const decode = decoders.get(keyOf(log.topics[0], log.topics.length - 1));
    if (decode !== undefined) decoded.push({ ...decode(log), log } as unknown as DecodedLog<abi>);
  }
  return decoded;
}

/** Two standards may share a topic and differ in what is indexed (ERC-20 and ERC-721 `Transfer`), so both count. */
function keyOf(selector: Hex | undefined, indexed: number): string {
  return `${selector}:${indexed}`;
}

function indexedOf(event: AbiEvent): readonly AbiParameter[] {
  return event.inputs.filter((input) => input.indexed);
}

function compile(event: AbiEvent): Decode {
  const plain = event.inputs.filter((input) => !input.indexed);
  const indexed = indexedOf(event);
  const nameOf = (input: AbiParameter) => input.name || String(event.inputs.indexOf(input));
  return (log) => {
    try {
      const args: Record<string, unknown> = {};
      indexed.forEach((input, i) => {
        const topic = log.topics[i + 1] as Hex;
        args[nameOf(input)] = isHashed(input.type) ? topic : decodeAbiParameters([input], topic)[0];
      });
      const values = plain.length === 0 ? [] : decodeAbiParameters(plain, log.data);
      plain.forEach((input, i) => {
        args[nameOf(input)] = values[i];
      });
      return { eventName: event.name, args };
    } catch (cause) {
      const at = `block ${log.blockNumber}, log ${log.logIndex}`;
      throw new MarketError("EVENT_MALFORMED", `The log at ${at} is no valid ${event.name} event.`, {
        hint: "Is this the right contract, and the ABI of its version?",
        cause,
      });
    }
  };
}

/** Indexed strings, bytes, arrays and structs are stored as their hash. */
function isHashed(type: string): boolean {
  return type === "string" || type === "bytes" || type.endsWith("]") || type.startsWith("tuple");
}
