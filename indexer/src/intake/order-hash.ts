import {
  type Hex,
  type JobId,
  type MarketDomain,
  type Offer,
  orderDomain,
  orderTypes,
  type Request,
} from "@berth/protocol";
import { domainSeparator } from "viem";
import { keccak } from "./keccak.ts";

const WORD = 32;
/** The EIP-712 hashes of orders for one market: those of `jobIdOf` and `offerHashOf`, many times as fast. */
export interface OrderHashes {
  jobIdOf(request: Request): JobId;
  offerHashOf(offer: Offer): Hex;
}

type Members = readonly { name: string; type: string }[];
/** Writes a value as one word at `at` of zeroed bytes. */
type WriteWord = (bytes: Buffer, at: number, value: unknown) => void;

const hashRequest = compileStruct("Request", orderTypes.Request);
const hashOffer = compileStruct("Offer", orderTypes.Offer);

const made = new WeakMap<MarketDomain, OrderHashes>();

/** For orders of `domain`'s market; made once. */
export function orderHashes(domain: MarketDomain): OrderHashes {
  const known = made.get(domain) ?? compileHashes(domain);
  made.set(domain, known);
  return known;
}

function compileHashes(domain: MarketDomain): OrderHashes {
  const digest = Buffer.alloc(2 + 2 * WORD);
  digest.write("1901", "hex");
  digest.write(domainSeparator({ domain: orderDomain(domain) }).slice(2), 2, "hex");

  function bind(structHash: Uint8Array): Hex {
    digest.set(structHash, 2 + WORD);
    return `0x${Buffer.from(keccak(digest)).toString("hex")}`;
  }

  return {
    jobIdOf: (request) => bind(hashRequest(request)) as JobId,
    offerHashOf: (offer) => bind(hashOffer(offer)),
  };
}

/** Every member is one static word (docs/adr/0002), so a struct is its type hash and a row of words of known places. */
function compileStruct<T extends object>(name: string, members: Members): (order: T) => Uint8Array {
  const type = `${name}(${members.map((member) => `${member.type} ${member.name}`).join(",")})`;
  const bytes = Buffer.alloc(WORD * (1 + members.length));
  bytes.set(keccak(Buffer.from(type)));
  const steps = members.map((member, i) => ({
    key: member.name as keyof T,
    at: WORD * (i + 1),
    write: compileMember(member),
  }));
  return (order) => {
    for (const { key, at, write } of steps) write(bytes, at, order[key]);
    return keccak(bytes);
  };
}

function compileMember({ name, type }: Members[number]): WriteWord {
  if (type === "address") return writeHex(name, 20);
  if (type === "bytes32") return writeHex(name, WORD);
  const bits = Number(/^uint([0-9]+)$/.exec(type)?.[1]);
  if (!(bits > 0 && bits <= 256)) throw new TypeError(`Orders have no members of type ${type}.`);
  return bits <= 48 ? writeNumber(name, bits) : writeBigint(name, bits);
}

function writeHex(name: string, size: number): WriteWord {
  return (bytes, at, value) => {
    const written =
      typeof value === "string" && value.length === 2 + 2 * size
        ? bytes.write(value.slice(2), at + WORD - size, "hex")
        : 0;
    if (written !== size) throw unfit(name, value);
  };
}

function writeNumber(name: string, bits: number): WriteWord {
  const max = 2 ** bits - 1;
  return (bytes, at, value) => {
    if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > max) throw unfit(name, value);
    bytes.writeUIntBE(value as number, at + WORD - 6, 6);
  };
}

function writeBigint(name: string, bits: number): WriteWord {
  const max = (1n << BigInt(bits)) - 1n;
  const at64s = Array.from({ length: Math.ceil(bits / 64) }, (_, i) => WORD - 8 * (i + 1));
  return (bytes, at, value) => {
    if (typeof value !== "bigint" || value < 0n || value > max) throw unfit(name, value);
    let rest = value;
    for (const at64 of at64s) {
      bytes.writeBigUInt64BE(BigInt.asUintN(64, rest), at + at64);
      rest >>= 64n;
    }
  };
}

/** Orders are parsed before they come here, so this is a mistake of ours; a hash of cut values would be worse. */
function unfit(name: string, value: unknown): RangeError {
  return new RangeError(`${name} cannot be ${String(value)}.`);
}
