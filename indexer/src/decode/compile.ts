import type { RawLog } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import { type Abi, type AbiEvent, type AbiParameter, toEventSelector } from "viem";
import { blankOf } from "../blank.ts";

/** Turns one log into the name and the arguments of its event; undefined when it is none of the compiled ones. */
export type DecodeLog = (log: RawLog) => { eventName: string; args: Record<string, unknown> } | undefined;

/** Reads a value out of `data`, hexadecimal digits without `0x`; `at` is the digit at which its word begins. */
type Read = (data: string, at: number) => unknown;
interface Member {
  name: string;
  read: Read;
  /** Digits that it takes in its struct. */
  digits: number;
}

const WORD = 64;
/** By their number. */
const ZEROS = Array.from({ length: WORD + 1 }, (_, count) => "0".repeat(count));
/** Of a number below 2^52. */
const SAFE_DIGITS = 13;

/**
 * A decoder of the events of `abi`, compiled once: all it does for a log is to cut words out of it. Values are as viem's,
 * but addresses are lower case, as tables compare them. Throws `EVENT_MALFORMED` when a log's bytes do not fit its event.
 */
export function compileEvents(abi: Abi): DecodeLog {
  const decoders = new Map<string, (log: RawLog) => { eventName: string; args: Record<string, unknown> }>();
  for (const item of abi)
    if (item.type === "event" && !item.anonymous) decoders.set(toEventSelector(item), compile(item));
  return (log) => decoders.get(log.topics[0] as string)?.(log);
}

function compile(event: AbiEvent) {
  const indexed = membersOf(event.inputs.filter((input) => input.indexed).map(hashed));
  const plain = membersOf(event.inputs.filter((input) => !input.indexed));
  return (log: RawLog) => {
    try {
      if (log.topics.length !== indexed.length + 1) throw new RangeError("another number of topics");
      const args: Record<string, unknown> = {};
      for (let i = 0; i < indexed.length; i++) {
        const { name, read } = indexed[i] as Member;
        args[name] = read(log.topics[i + 1] as string, 2);
      }
      // Offsets count from the first word, which comes after `0x`.
      let at = 2;
      for (const { name, read, digits } of plain) {
        args[name] = read(log.data, at);
        at += digits;
      }
      return { eventName: event.name, args };
    } catch (cause) {
      const where = `block ${log.blockNumber}, log ${log.logIndex}`;
      throw new MarketError("EVENT_MALFORMED", `The log at ${where} is no valid ${event.name} event.`, {
        hint: "Is this the right contract, and the ABI of its version?",
        cause,
      });
    }
  };
}

function membersOf(inputs: readonly AbiParameter[]): Member[] {
  return inputs.map((input, i) => {
    const { read, digits } = readerOf(input);
    return { name: input.name || String(i), read, digits };
  });
}

/** An indexed text or byte string is its hash. */
function hashed(input: AbiParameter): AbiParameter {
  return isDynamic(input.type) ? { ...input, type: "bytes32" } : input;
}

function isDynamic(type: string): boolean {
  return type === "string" || type === "bytes";
}

function readerOf(input: AbiParameter): { read: Read; digits: number } {
  const { type } = input;
  if (type === "tuple") {
    const members = membersOf((input as { components: readonly AbiParameter[] }).components);
    if (!members.every(({ digits }) => digits > 0)) throw new TypeError(`${input.name} holds what is not supported`);
    return { read: structReader(members), digits: members.reduce((sum, { digits }) => sum + digits, 0) };
  }
  return { read: scalarReader(type), digits: WORD };
}

function structReader(members: readonly Member[]): Read {
  const blank = blankOf(members.map(({ name }) => name));
  return (data, at) => {
    const struct: Record<string, unknown> = { ...blank };
    let next = at;
    for (let i = 0; i < members.length; i++) {
      const { name, read, digits } = members[i] as Member;
      struct[name] = read(data, next);
      next += digits;
    }
    return struct;
  };
}

function scalarReader(type: string): Read {
  if (type === "address") return (data, at) => `0x${low(data, at, 40)}`;
  if (type === "bool") return (data, at) => low(data, at, 1) === "1";
  const bits = Number(/^uint(\d+)$/.exec(type)?.[1]);
  if (bits <= 48) return (data, at) => Number.parseInt(low(data, at, bits / 4), 16);
  if (bits <= 256) return (data, at) => bigOf(low(data, at, bits / 4));
  const bytes = Number(/^bytes(\d+)$/.exec(type)?.[1]);
  if (bytes <= 32) return (data, at) => `0x${word(data, at).slice(0, 2 * bytes)}`;
  if (type === "bytes") return (data, at) => `0x${tail(data, at)}`;
  if (type === "string") return (data, at) => Buffer.from(tail(data, at), "hex").toString("utf8");
  throw new TypeError(`Events with a ${type} are not supported.`);
}

function word(data: string, at: number): string {
  if (at + WORD > data.length) throw new RangeError("the data ends too early");
  return data.slice(at, at + WORD);
}

/** Most amounts are small, and a small number is read several times as fast as a large one. */
function bigOf(digits: string): bigint {
  const high = digits.length - SAFE_DIGITS;
  return digits.startsWith(ZEROS[high] as string)
    ? BigInt(Number.parseInt(digits.slice(high), 16))
    : BigInt(`0x${digits}`);
}

/** The lowest `digits` of a word; the others must be 0. */
function low(data: string, at: number, digits: number): string {
  const end = at + WORD;
  if (end > data.length) throw new RangeError("the data ends too early");
  if (digits < WORD && !data.startsWith(ZEROS[WORD - digits] as string, at))
    throw new RangeError("a value is too large");
  return data.slice(end - digits, end);
}

/** What a text or byte string holds, found by its offset. */
function tail(data: string, at: number): string {
  const start = 2 + 2 * offset(data, at);
  const length = 2 * offset(data, start);
  const from = start + WORD;
  if (from + length > data.length) throw new RangeError("the data ends too early");
  return data.slice(from, from + length);
}

/** Nothing is longer than 4 GiB. */
function offset(data: string, at: number): number {
  return Number.parseInt(low(data, at, 8), 16);
}
