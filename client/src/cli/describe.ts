import { MODE, maskToTraits, type Offer, X18 } from "@berth/protocol";
import { agreementSentence } from "../actions/compare-results.ts";
import type { Job } from "../actions/get-job.ts";
import type { RunReport } from "../actions/run-job.ts";
import { bytes32ToText, formatMoney, formatSeconds, formatTime, type TokenInfo } from "../format.ts";
import type { ListedOffer } from "../indexer.ts";
import { checkLines, table } from "./output.ts";

/** A finished run as text. */
export function describeRun(report: RunReport, token: TokenInfo): string {
  const { jobId, replicas, transactions, phases, verification, agreement, outputs } = report;
  const facts = replicas.flatMap(
    ({ operator, index, outcome, exitCode, state, charge, outputsCid, opened }, replica) => [
      ...(replicas.length > 1 ? [["replica", String(replica)]] : []),
      ["node", `${operator}/${index}`],
      ["outcome", exitCode === null ? outcome : `${outcome}, exit code ${exitCode}`],
      ["state", state],
      ["charge", formatMoney(BigInt(charge), token)],
      ["outputs", outputsCid ?? "none"],
      ...(opened === false ? [["opened", "no: what is encrypted is verified by its hashes only"]] : []),
    ],
  );
  const sections = [
    table([
      ["job", jobId],
      ...facts,
      ...(agreement === undefined ? [] : [["agreement", agreementSentence(agreement)]]),
      ...(outputs === null ? [] : [["folder", outputs]]),
    ]),
    table(
      transactions.map(({ what, hash, gasUsed }) => [what, hash, gasUsed]),
      ["transaction", "hash", "gas"],
    ),
    table(
      phases.map(({ name, seconds }) => [name, formatSeconds(seconds)]),
      ["phase", "time"],
    ),
    checkLines(verification.checks),
  ];
  return sections.join("\n\n");
}

/** A job as it stands, as text. */
export function describeJob(
  { jobId, state, order, request, replicas }: Job,
  token: TokenInfo,
  why: string | undefined,
): string {
  const rows: string[][] = [
    ["job", jobId],
    ["state", why === undefined ? state : `${state} (${why})`],
    ["requester", order.requester],
    ...(request === null ? [] : [["price limit", formatMoney(request.maxPrice, token)]]),
    [
      "asks for",
      `${order.cpuMilli / 1000} cores, ${order.memoryMiB} MiB memory, ${order.diskMiB} MiB disk, ${order.gpus > 0 ? `${order.gpus} GPUs, ` : ""}${formatSeconds(order.maxSeconds)}`,
    ],
    ...(request === null ? [] : [["open until", time(request.openUntil)]]),
  ];
  for (const each of replicas) {
    const { replica, operator, index, deposit, claim, charge, matchedAt, submittedAt, contentUrl, reason } = each;
    rows.push(
      [`replica ${replica}`, reason === null ? each.state : `${each.state} (${reason})`],
      ["  node", `${operator}/${index}${contentUrl === "" ? "" : ` at ${contentUrl}`}`],
      ["  matched", `${time(matchedAt)}, deposit ${formatMoney(deposit, token)}`],
    );
    if (claim !== null) rows.push(["  result", `${time(submittedAt)}, claims ${formatMoney(claim.charge, token)}`]);
    if (charge !== null) rows.push(["  paid", formatMoney(charge, token)]);
    if (each.state === "submitted")
      rows.push([
        "  payable",
        `from ${time(submittedAt + order.challengeWindow)} on by anyone, now with \`berth approve\``,
      ]);
    if (each.state === "active" && order.mode === MODE.batch)
      rows.push([
        "  due",
        `${time(matchedAt + order.submitWindow)}; after that \`berth finalize\` returns the deposit`,
      ]);
  }
  return table(rows);
}

/** Offers as text. Prices are for an hour. */
export function describeOffers(offers: readonly ListedOffer[], token: TokenInfo, now: number): string {
  if (offers.length === 0) return "There are no offers.";
  const hourly = (rateX18: bigint, times: bigint) =>
    formatMoney((rateX18 * times * 3600n) / X18, { ...token, symbol: "" }).trim();
  const rows = offers.map(({ offer }) => [
    `${offer.operator}/${offer.index}`,
    `${offer.cpuMilli / 1000}`,
    `${offer.memoryMiB}`,
    `${offer.diskMiB}`,
    gpusOf(offer),
    hourly(offer.cpuRateX18, 1000n),
    hourly(offer.memoryRateX18, 1024n),
    formatMoney(offer.baseCharge, { ...token, symbol: "" }).trim(),
    formatSeconds(offer.maxSeconds),
    formatSeconds(Math.max(0, offer.expiresAt - now)),
    maskToTraits(offer.traits).join(" "),
  ]);
  const head = [
    "node",
    "cores",
    "MiB",
    "disk MiB",
    "GPUs",
    `${token.symbol}/core h`,
    `${token.symbol}/GiB h`,
    "base",
    "longest",
    "expires in",
    "traits",
  ];
  return table(rows, head);
}

function gpusOf({ gpus, gpuModel }: Pick<Offer, "gpus" | "gpuModel">): string {
  return gpus === 0 ? "" : `${gpus} ${bytes32ToText(gpuModel)}`.trim();
}

function time(seconds: number): string {
  return seconds === 0 ? "never" : formatTime(seconds);
}
