import { type Address, type JobId, jobIdOf, type Offer, type Request, ZERO_ADDRESS } from "@berth/protocol";
import fc from "fast-check";
import { type Book, type BookNode, createBook, type OpenRequest } from "../../../indexer/src/book/book.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

export const TOKEN: Address = `0x${"a".repeat(40)}`;

export function address(number: number): Address {
  return `0x${(number + 0x1000).toString(16).padStart(40, "0")}`;
}

/** A node that serves `anOffer({ operator: address(operator) })`. */
export function aNode(operator: number, index: number, replaced: Partial<BookNode> = {}): BookNode {
  return {
    operator: address(operator),
    index,
    key: address(50),
    validTo: 3_000_000_000,
    limits: {
      maxBond: 1_000_000n,
      maxActive: 8,
      cpuMilli: 8000,
      memoryMiB: 8192,
      diskMiB: 4096,
      gpus: 0,
    },
    use: { epoch: 0, active: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 },
    ...pick(replaced),
  };
}

/** Four operators with two nodes each, staked, and a payer with money. */
export function aBook(): Book {
  const book = createBook();
  for (let operator = 0; operator < 4; operator++) {
    for (const index of [0, 1]) book.putNode(aNode(operator, index));
    book.setStake(address(operator), TOKEN, { free: 1_000_000n, locked: 0n });
    book.setAccepted(address(operator), TOKEN, true);
  }
  book.setBalance(aRequest().payer, TOKEN, 1_000_000n);
  return book;
}

export function anOrder(
  number: number,
  replaced: Partial<Request> = {},
  receivedAtMs = 1000,
  posted = false,
  operators: readonly Address[] | null = null,
): OpenRequest {
  const request = aRequest({ nonce: `0x${number.toString(16).padStart(64, "0")}`, ...replaced });
  const jobId: JobId = jobIdOf({ chainId: 1, market: address(77) }, request);
  return { jobId, request, signature: "0x", payerSignature: "0x", posted, receivedAtMs, operators };
}

/** One change of the book, or one request. */
export type Step =
  | { kind: "offer"; offer: Offer; seq: number }
  | { kind: "drop"; at: number }
  | { kind: "node"; operator: number; index: number; key: Address | null; validTo: number; use: BookNode["use"] }
  | { kind: "stake"; operator: number; free: bigint; locked: bigint }
  | { kind: "accept"; operator: number; accepted: boolean }
  | { kind: "pause"; paused: boolean }
  | { kind: "balance"; amount: bigint }
  | { kind: "land"; at: number }
  | { kind: "request"; request: Partial<Request>; posted: boolean; listed: number[] | null };

const operator = fc.nat(3);
const index = fc.nat(1);
/** Few values, so that prices tie and capacities run out. */
const offerStep = fc
  .record({
    operator,
    index,
    epoch: fc.constantFrom(0, 0, 0, 1),
    cpuRateX18: fc.constantFrom(10n ** 15n, 2n * 10n ** 15n, 10n ** 16n),
    baseCharge: fc.constantFrom(0n, 5n, 60n),
    cpuMilli: fc.constantFrom(1000, 2000, 4000),
    memoryMiB: fc.constantFrom(512, 4096, 4096),
    traits: fc.constantFrom(0b1n, 0b111n, 0b111n),
    expiresAt: fc.constantFrom(999_999, 1_000_000, 2_000_000_000, 2_000_000_000, 2_000_000_000),
    requester: fc.constantFrom(ZERO_ADDRESS, ZERO_ADDRESS, address(60)),
    token: fc.constantFrom(TOKEN, TOKEN, TOKEN, TOKEN, TOKEN, address(61)),
  })
  .map((fields) => anOffer({ ...fields, operator: address(fields.operator) }));
const requestStep = fc.record({
  replicas: fc.constantFrom(1, 1, 2, 3),
  cpuMilli: fc.constantFrom(500, 1000, 2000),
  memoryMiB: fc.constantFrom(256, 512, 1024),
  traits: fc.constantFrom(0b1n, 0b1n, 0b10n),
  maxSeconds: fc.constantFrom(1, 60),
  maxPrice: fc.constantFrom(100n, 1000n, 10_000_000n, 10_000_000n),
  matcherTip: fc.constantFrom(0n, 7n),
  bond: fc.constantFrom(0n, 1000n, 1000n, 400_000n),
  minStake: fc.constantFrom(0n, 0n, 0n, 0n, 1000n, 500_001n),
  matcher: fc.constantFrom(ZERO_ADDRESS, ZERO_ADDRESS, address(99)),
});

/** The operators that a request allows; null: all of them. */
const listed = fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, fc.uniqueArray(operator, { minLength: 1 }));

export const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("offer" as const), offer: offerStep, seq: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), at: fc.nat(20) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("node" as const),
      operator,
      index,
      key: fc.constantFrom(address(50), address(50), address(50), address(51), null),
      validTo: fc.constantFrom(1_000_500, 3_000_000_000),
      use: fc.record({
        epoch: fc.constantFrom(0, 0, 1),
        active: fc.constantFrom(0, 0, 5, 7, 8),
        cpuMilli: fc.constantFrom(0, 0, 1000, 3000),
        memoryMiB: fc.constantFrom(0, 0, 3600),
        diskMiB: fc.constant(0),
        gpus: fc.constant(0),
      }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("stake" as const),
      operator,
      free: fc.constantFrom(0n, 999n, 500_000n),
      locked: fc.constantFrom(0n, 1n, 1_000_000n),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("accept" as const),
      operator,
      accepted: fc.constantFrom(true, true, true, false),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("pause" as const),
      paused: fc.constantFrom(true, false, false, false, false, false),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("balance" as const),
      amount: fc.constantFrom(200n, 5000n, 10n ** 9n, 10n ** 9n),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("land" as const), at: fc.nat(9) }) },
  {
    weight: 9,
    arbitrary: fc.record({ kind: fc.constant("request" as const), request: requestStep, posted: fc.boolean(), listed }),
  },
);

function pick({ key, validTo, use, limits }: Partial<BookNode>): Partial<BookNode> {
  return {
    ...(key === undefined ? {} : { key }),
    ...(validTo === undefined ? {} : { validTo }),
    ...(use === undefined ? {} : { use }),
    ...(limits === undefined ? {} : { limits }),
  };
}
