// What the gas of a signed job goes into, transaction by transaction (the second job of the same parties): the reasons in
// docs/adr/0014-gas.md. Only `computing` and `hashing` depend on how the code is written; the rest is what the rules make it read,
// write, say and ask.

import Table from "cli-table3";
import { ethers, time } from "../test/contracts/support/actors.ts";
import { matchJob, readyMarket, termsFor } from "../test/contracts/support/market.ts";

const PARTS = ["transaction", "calldata", "writing", "reading", "events", "calls", "hashing", "computing"] as const;
type Breakdown = Record<(typeof PARTS)[number], number>;

const columns: Record<string, Breakdown> = {};
const on = await readyMarket();
for (const nonce of ["first", "second"]) {
  const request = on.request({ nonce: ethers.id(nonce) as `0x${string}` });
  const offer = on.offer();
  columns["match"] = await breakdownOf(await matchJob(on, { request, offers: [offer] }));
  const terms = termsFor(on, request, offer);
  const claim = { resultHash: ethers.id("result") as `0x${string}`, resultBytes: 900n, charge: offer.baseCharge };
  columns["submit"] = await breakdownOf(await on.market.connect(on.nodeKey).submit(terms, claim, "0x"));
  await time.increase(request.challengeWindow + 1);
  columns["finalize"] = await breakdownOf(await on.market.connect(on.stranger).finalize(terms, claim));
}

const names = Object.keys(columns);
const rows = PARTS.map((part) => ({
  part,
  ...Object.fromEntries(names.map((name) => [name, columns[name]?.[part] ?? 0])),
}));
const table = new Table({ head: ["gas", ...names, "job"], style: { head: [], border: [] } });
for (const part of PARTS) {
  const figures = names.map((name) => columns[name]?.[part] ?? 0);
  table.push([part, ...figures, sum(figures)]);
}
table.push([
  "all",
  ...names.map((name) => sum(Object.values(columns[name] ?? {}))),
  sum(names.flatMap((name) => Object.values(columns[name] ?? {}))),
]);
console.log(table.toString());
console.log(JSON.stringify({ bench: "gas-breakdown", rows }));
process.exit(0);

interface Step {
  op: string;
  gasCost: number;
}

/** Sorts every step of a transaction; what the steps do not explain are calls (their own price, and precompiles). */
async function breakdownOf(sent: { hash: string; data: string }): Promise<Breakdown> {
  const receipt = await ethers.provider.getTransactionReceipt(sent.hash);
  const options = { disableMemory: true, disableStack: true, disableStorage: true };
  const trace = await ethers.provider.send("debug_traceTransaction", [sent.hash, options]);
  const parts: Breakdown = {
    transaction: 21_000,
    calldata: [...ethers.getBytes(sent.data)].reduce((gas, byte) => gas + (byte === 0 ? 4 : 16), 0),
    ...{ writing: 0, reading: 0, events: 0, calls: 0, hashing: 0, computing: 0 },
  };
  for (const { op, gasCost } of trace.structLogs as Step[]) {
    if (!op.endsWith("CALL") && op !== "EXTCODESIZE") parts[partOf(op)] += gasCost;
  }
  parts.calls = Number(receipt?.gasUsed) - sum(Object.values(parts));
  return parts;
}

function partOf(op: string): keyof Breakdown {
  if (op === "SSTORE") return "writing";
  if (op === "SLOAD") return "reading";
  if (op.startsWith("LOG")) return "events";
  return op === "KECCAK256" ? "hashing" : "computing";
}

function sum(figures: number[]): number {
  return figures.reduce((total, figure) => total + figure, 0);
}
