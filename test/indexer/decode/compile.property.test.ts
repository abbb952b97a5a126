import type { RawLog } from "@berth/chain";
import { type Hex, identityRegistryAbi, jobMarketAbi, providerStakingAbi } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import {
  type Abi,
  type AbiEvent,
  type AbiParameter,
  decodeEventLog,
  encodeAbiParameters,
  encodeEventTopics,
  getAddress,
} from "viem";
import { compileEvents } from "../../../indexer/src/decode/compile.ts";

const abis: readonly Abi[] = [identityRegistryAbi, providerStakingAbi, jobMarketAbi];
const events = abis.flatMap((abi) => abi.filter((item) => item.type === "event").map((event) => ({ abi, event })));

describe("compileEvents", () => {
  it("reads every event of every contract as viem does, addresses in lower case", () => {
    for (const { abi, event } of events) {
      const decode = compileEvents(abi);
      fc.assert(
        fc.property(anyLogOf(event), (log) => {
          const { eventName, args = {} } = decodeEventLog({ abi, data: log.data, topics: log.topics as never });
          expect(decode(log)).to.deep.equal({ eventName, args: lower(args) });
        }),
        { numRuns: 40 },
      );
    }
  });

  it("takes no log that is cut short for an event", () => {
    for (const { abi, event } of events.filter(({ event: { inputs } }) => inputs.some(({ indexed }) => !indexed))) {
      const decode = compileEvents(abi);
      fc.assert(
        fc.property(anyLogOf(event), fc.nat(10_000), (log, at) => {
          const words = (log.data.length - 2) / 64;
          // The last word of a text is mere padding, in part.
          const data = log.data.slice(0, 2 + 64 * (at % words)) as Hex;
          expect(() => decode({ ...log, data })).to.throw(`no valid ${event.name} event`);
        }),
        { numRuns: 10 },
      );
    }
  });

  it("leaves out what is no event of the contract", () => {
    const [{ abi, event } = { abi: [], event: undefined }] = events;
    const [log] = fc.sample(anyLogOf(event as AbiEvent), 1) as [RawLog];
    expect(compileEvents(abi)({ ...log, topics: [`0x${"1".repeat(64)}`] })).to.equal(undefined);
    expect(compileEvents(abi)({ ...log, topics: [] })).to.equal(undefined);
  });

  it("refuses an address with more than 20 bytes", () => {
    const guardian = jobMarketAbi.filter((item) => item.type === "event" && item.name === "GuardianChanged");
    const [log] = fc.sample(anyLogOf(guardian[0] as AbiEvent), 1) as [RawLog];
    const data: Hex = `0x1${log.data.slice(3)}`;
    expect(() => compileEvents(jobMarketAbi)({ ...log, data })).to.throw("no valid GuardianChanged event");
  });
});

function anyLogOf(event: AbiEvent): fc.Arbitrary<RawLog> {
  return fc.tuple(...event.inputs.map(anyValueOf)).map((values): RawLog => {
    const plain = event.inputs.flatMap((input, i) => (input.indexed ? [] : [{ input, value: values[i] }]));
    const args = event.inputs.flatMap((input, i) => (input.indexed ? [values[i]] : []));
    const topics = encodeEventTopics({ abi: [event], eventName: event.name, args } as never) as Hex[];
    const data = encodeAbiParameters(
      plain.map(({ input }) => input),
      plain.map(({ value }) => value) as never,
    );
    const none: Hex = `0x${"0".repeat(64)}`;
    const at = { blockNumber: 1, blockHash: none, transactionHash: none, transactionIndex: 0, logIndex: 0 };
    return { address: "0x0000000000000000000000000000000000000001", topics, data, ...at };
  });
}

function anyValueOf(input: AbiParameter): fc.Arbitrary<unknown> {
  const { type } = input;
  if (type === "tuple") {
    const { components } = input as { components: readonly AbiParameter[] };
    return fc.record(Object.fromEntries(components.map((member) => [member.name, anyValueOf(member)])));
  }
  if (type === "string") return fc.string({ unit: "grapheme", maxLength: 100 });
  if (type === "bool") return fc.boolean();
  if (type === "bytes") return anyBytes(0, 100);
  if (type === "address") return anyBytes(20).map((address) => getAddress(address));
  const bytes = Number(/^bytes(\d+)$/.exec(type)?.[1]);
  if (bytes > 0) return anyBytes(bytes);
  const bits = Number(/^uint(\d+)$/.exec(type)?.[1]);
  const number = fc.oneof(fc.bigInt(0n, 2n ** BigInt(bits) - 1n), fc.constantFrom(0n, 2n ** BigInt(bits) - 1n));
  return bits <= 48 ? number.map(Number) : number;
}

function anyBytes(minLength: number, maxLength = minLength): fc.Arbitrary<Hex> {
  return fc.uint8Array({ minLength, maxLength }).map((bytes): Hex => `0x${Buffer.from(bytes).toString("hex")}`);
}

function lower(value: unknown): unknown {
  if (typeof value === "string") return /^0x[0-9a-fA-F]{40}$/.test(value) ? value.toLowerCase() : value;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, lower(item)]));
}
