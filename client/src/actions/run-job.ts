import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { startGateway } from "@berth/content";
import {
  type Address,
  canonicalBytes,
  digestToCid,
  documentHash,
  type JobId,
  MarketError,
  parseSpec,
  type Request,
  requireSound,
  type Spec,
} from "@berth/protocol";
import { orderNow, tokenOf } from "../chain-reads.ts";
import { type Client, type Context, indexerOf, walletOf } from "../client.ts";
import type { TrustAnchors } from "../evidence/verify-evidence.ts";
import { formatBytes, formatMoney } from "../format.ts";
import { type Phase, type PhaseTime, phaseClock } from "../progress.ts";
import { writeOutputs } from "../sealed/archive.ts";
import { identityOf, type Keyring } from "../sealed/keyring.ts";
import { openSealed } from "../sealed/open.ts";
import { receiptOf, type Sent } from "../send.ts";
import { addInputs, type InputSource } from "./add-inputs.ts";
import { buildRequest } from "./build-request.ts";
import { buildSpec, type SpecOptions } from "./build-spec.ts";
import { type Agreement, agreementSentence } from "./compare-results.ts";
import { blindTerms, type Estimate, estimate, type Wishes } from "./estimate.ts";
import { entriesOf, type FetchedResult, fetchResult, outputsPart } from "./fetch-result.ts";
import { fund } from "./fund.ts";
import { getJob, type Job } from "./get-job.ts";
import { heldSentence, holdUnopened } from "./hold-unopened.ts";
import { listOffers } from "./list-offers.ts";
import { placesOf, type ResolvedImage, referenceOf, resolveImage } from "./resolve-image.ts";
import { postRequest, signRequest } from "./send-request.ts";
import { approveReplica } from "./settle.ts";
import { type OnOutput, tailRun } from "./tail-run.ts";
import { type Verification, verifyJob } from "./verify-job.ts";
import { type Ordered, watchJob } from "./watch-job.ts";

/** Where the client's content is served while nodes may need it. */
export interface ServeOptions {
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** How others reach it. Absent: the address listened on. */
  url?: string | undefined;
}

/** What happens when the result is there. */
export interface FinishOptions {
  /** A folder that does not exist yet, or is empty. Absent: the outputs stay in the content store. */
  out?: string | undefined;
  /** Whom to believe about TPMs. */
  trust?: TrustAnchors | undefined;
  /** Pay as soon as every check passed. Default true. */
  approve?: boolean | undefined;
  /** Pay so too what is encrypted and could not be opened here, by its hashes alone. Default false: its window decides. */
  approveUnopened?: boolean | undefined;
  /** Opens outputs and logs that were encrypted. */
  keyring?: Keyring | undefined;
  /** Gets what the replicas write, while they run: the nodes' word, signed for with the client's wallet. */
  onOutput?: OnOutput | undefined;
}

export interface RunOptions extends FinishOptions {
  /** `oci:DIR`, `ipfs:CID@sha256:DIGEST` or `oci://HOST/REPOSITORY@sha256:DIGEST`. Not needed with a whole spec. */
  image?: string | undefined;
  /** Everything else about what to run. */
  spec: Omit<SpecOptions, "image" | "inputs"> | Spec;
  inputs?: readonly InputSource[] | undefined;
  token?: string | undefined;
  replicas?: number | undefined;
  maxPrice?: bigint | undefined;
  bond?: bigint | undefined;
  region?: string | undefined;
  gpuModel?: string | undefined;
  challengeSeconds?: number | undefined;
  /** The only operators that may take it. Absent: any. */
  operators?: readonly Address[] | undefined;
  openSeconds?: number | undefined;
  /** Have outputs and logs encrypted: to the keyring's recipient, and to those that the spec names. */
  encrypt?: boolean | undefined;
  /** Put the request on chain instead of signing it for the indexer. */
  post?: boolean | undefined;
  serve: ServeOptions;
  /** Asked before money moves; throw to stop. */
  confirm?:
    | ((order: { estimate: Estimate | undefined; terms: Estimate["terms"]; spec: Spec }) => Promise<void>)
    | undefined;
}

/** The facts of a run, as `berth run --json` prints them. Amounts are token units in decimal digits. */
export interface RunReport {
  jobId: JobId;
  replicas: {
    operator: Address;
    index: number;
    state: string;
    outcome: string;
    exitCode: number | null;
    charge: string;
    outputsCid: string | null;
    /** Was what is encrypted decrypted here? Null where nothing is, or no result was read. False: it was checked by hashes only. */
    opened: boolean | null;
    contentUrl: string;
  }[];
  transactions: { what: string; hash: string; gasUsed: string }[];
  phases: PhaseTime[];
  verification: { ok: boolean; checks: { name: string; ok: boolean; detail: string }[] };
  /** Absent where only one replica was ordered. */
  agreement?: Agreement;
  /** Where there are several replicas, a folder of folders with their numbers. */
  outputs: string | null;
}

/**
 * One job from image to paid result: checks the image, finds an offer, deposits, orders, serves the content, waits,
 * fetches, verifies, exports the outputs, and pays only when every check passed and what is encrypted was opened. A result that does not verify is reported, not thrown.
 * Of several replicas each stands for itself: those that verify are exported and paid.
 * Throws the errors of every action it is made of.
 */
export async function runJob(client: Client, options: RunOptions, context: Context = {}): Promise<RunReport> {
  walletOf(client);
  await assertFree(options.out);
  const clock = phaseClock();
  const say = teller(context);
  const { image, spec } = await clock.run("image", async () => {
    const prepared = await prepare(client, options, say, context);
    return { ...prepared, spec: await encrypted(prepared.spec, options, say) };
  });
  const { terms, found } = await clock.run("estimate", () => settleTerms(client, spec, image, options, say, context));
  requireSound(terms); // known before anything is signed or paid
  await options.confirm?.({ estimate: found, terms, spec });

  await using gateway = await serveContent(client, options.serve);
  const sent: Sent[] = [];
  sent.push(
    ...(await clock.run("fund", async () => {
      const token = await tokenOf(client, terms.token);
      const furtherTransactions = terms.replicas + (options.post === true ? 2 : 0);
      const funding = await fund(client, { token, need: terms.maxPrice, furtherTransactions }, context);
      say(
        "fund",
        funding.length === 0
          ? "the market already holds enough"
          : `deposited for at most ${formatMoney(terms.maxPrice, token)}`,
      );
      return funding;
    })),
  );
  const { request, jobId } = await clock.run("request", async () => {
    const now = await orderNow(client);
    const built = buildRequest({ domain: client.domain, spec, terms, now, openSeconds: options.openSeconds });
    await keep(client, spec, built.request, built.jobId, context);
    const { post, operators } = options;
    if (post === true) sent.push(...(await postRequest(client, built.request, gateway.url, context)));
    // A list of operators is not on chain: whoever matches a posted request must have it from the indexer.
    if (post !== true || operators !== undefined)
      await signRequest(client, built.request, { sources: [gateway.url], operators }, context);
    say(
      "request",
      `job ${built.jobId} ${options.post === true ? "posted on chain" : "signed and handed to the indexer"}`,
      built.jobId,
    );
    return built;
  });
  const ordered = { jobId, order: request, openUntil: request.openUntil };
  return await finish(client, ordered, options, { clock, sent, say }, context);
}

/** Takes up a job that was ordered before: serves its content, waits, fetches, verifies, pays. Throws as `runJob`. */
export async function resumeJob(
  client: Client,
  jobId: JobId,
  options: FinishOptions & { serve: ServeOptions },
  context: Context = {},
): Promise<RunReport> {
  await assertFree(options.out);
  const { order, request } = await getJob(client, jobId, context);
  await using _gateway = await serveContent(client, options.serve);
  return await finish(
    client,
    { jobId, order, openUntil: request?.openUntil },
    options,
    { clock: phaseClock(), sent: [], say: teller(context) },
    context,
  );
}

interface Tools {
  clock: ReturnType<typeof phaseClock>;
  sent: Sent[];
  say: Say;
}

async function finish(
  client: Client,
  ordered: Ordered,
  options: FinishOptions,
  { clock, sent, say }: Tools,
  context: Context,
): Promise<RunReport> {
  const { jobId } = ordered;
  const tail = tailRun(client, options.onOutput, context);
  const watched = watchJob(client, ordered, context, { onMatched: tail.begin });
  const { job, times } = await watched.finally(tail.settle);
  const matched = times.matched ?? 0;
  clock.add("match", matched);
  clock.add("pull", (times.running ?? times.ended) - matched);
  clock.add("run and publish", times.ended - (times.running ?? times.ended));
  assertDelivered(job);
  const isOne = job.order.replicas === 1;
  const fetched = await clock.run("fetch", () =>
    isOne ? fetchResult(client, job, context) : fetchReplicas(client, job, say, context),
  );
  for (const { replica, record } of fetched) {
    const code = record.exitCode === null ? "" : ` with code ${record.exitCode}`;
    const who = isOne ? "" : `replica ${replica}: `;
    say(
      "fetch",
      `${who}result fetched: ${record.outcome}${code}, ${formatBytes(record.outputs?.bytes ?? 0)} of outputs`,
      jobId,
    );
  }
  const verification = await clock.run("verify", () => verifyJob(client, jobId, options, context));
  const failed = verification.checks.filter(({ ok }) => !ok);
  say(
    "verify",
    failed.length === 0 ? verifiedSentence(verification) : `NOT verified: ${failed.map(({ name }) => name).join(", ")}`,
    jobId,
  );
  const { agreement } = verification;
  if (agreement !== null) say("verify", agreementSentence(agreement), jobId);
  const { approved, held } = holdUnopened(job, verification.replicas, options);
  for (const each of held) say("approve", heldSentence(job, each), jobId);
  // Paid only when the outputs are where they were asked for.
  const good = { ...verification, replicas: verification.replicas.filter(({ ok }) => ok) };
  const outputs =
    good.replicas.length > 0
      ? await clock.run("export", () => exportOutputs(client, good, options.out, options.keyring, context))
      : null;
  if (outputs !== null) say("export", `outputs are in ${outputs}`, jobId);
  if (approved.length > 0) {
    await clock.run("approve", async () => {
      for (const replica of approved) sent.push(await approveReplica(client, replica, context));
    });
    say("approve", "approved and settled", jobId);
  }
  return await report(client, jobId, verification, { phases: clock.times, sent, outputs }, context);
}

function verifiedSentence({ checks, replicas }: Verification): string {
  const isUnopened = replicas.some(({ opened }) => opened === false);
  return isUnopened
    ? `verified by hashes: ${checks.length} checks passed; what is encrypted was not opened`
    : `verified: ${checks.length} checks passed`;
}

/** Brings in what can be had: one node that does not deliver its content must not keep back that of the others. */
async function fetchReplicas(client: Client, job: Job, say: Say, context: Context): Promise<FetchedResult[]> {
  const fetched: FetchedResult[] = [];
  let trouble: unknown;
  for (const one of job.replicas.filter(({ claim }) => claim !== null)) {
    try {
      fetched.push(...(await fetchResult(client, { ...job, replicas: [one] }, context)));
    } catch (error) {
      context.signal?.throwIfAborted();
      if (!(error instanceof MarketError) || error.code.startsWith("RPC_")) throw error;
      trouble ??= error;
      say("fetch", `replica ${one.replica}: ${error.message}`, job.jobId);
    }
  }
  if (fetched.length === 0) throw trouble;
  return fetched;
}

type Say = (phase: Phase, message: string, jobId?: JobId) => void;

function teller({ onProgress }: Context): Say {
  return (phase, message, jobId) => onProgress?.({ phase, message, ...(jobId === undefined ? {} : { jobId }) });
}

async function prepare(
  client: Client,
  options: RunOptions,
  say: Say,
  context: Context,
): Promise<{ image: ResolvedImage | undefined; spec: Spec }> {
  const image = options.image === undefined ? undefined : await resolveImage(client, options.image, context);
  if (image !== undefined) say("image", `image ${image.digest} checked, ${formatBytes(image.bytes)}`);
  const inputs = await addInputs(client, options.inputs ?? [], context);
  if ("version" in options.spec) {
    const spec = parseSpec({ ...options.spec, inputs: [...options.spec.inputs, ...inputs] });
    if (image !== undefined) return { image, spec: parseSpec({ ...spec, image: placesOf(image) }) };
    return { image: await resolveImage(client, referenceOf(spec.image), context), spec };
  }
  if (image === undefined)
    throw new MarketError("IMAGE_MISSING", "No image is named.", { hint: "Give one, like oci:DIR." });
  return { image, spec: buildSpec({ ...options.spec, image: placesOf(image), inputs }) };
}

/** Adds the keyring's recipient to a spec. Throws KEYRING_MISSING, and IDENTITY_MISSING before outputs are lost for good. */
async function encrypted(spec: Spec, { encrypt, keyring, out }: RunOptions, say: Say): Promise<Spec> {
  const { encryptTo = [] } = spec.outputs;
  if (encrypt !== true) {
    if (encryptTo.length > 0 && out !== undefined) await identityOf(encryptTo, keyring);
    return spec;
  }
  if (keyring === undefined) {
    throw new MarketError("KEYRING_MISSING", "There is nothing to keep the identity in that opens the outputs.", {
      hint: "Give a `keyring`, like keyringOf({ dir }).",
    });
  }
  const { recipient, file } = await keyring.recipient();
  say("image", `outputs and logs will be encrypted to ${recipient}; who loses ${file} cannot read them`);
  const all = [...new Set([...encryptTo, recipient])];
  return parseSpec({ ...spec, outputs: { ...spec.outputs, encryptTo: all } });
}

async function settleTerms(
  client: Client,
  spec: Spec,
  image: ResolvedImage | undefined,
  options: RunOptions,
  say: Say,
  context: Context,
): Promise<{ terms: Estimate["terms"]; found: Estimate | undefined }> {
  const token = await tokenOf(client, options.token);
  const { replicas, maxPrice, bond, region, gpuModel, challengeSeconds, operators } = options;
  if (operators !== undefined) indexerOf(client); // who matches must have the list from somewhere
  const requester = walletOf(client).address;
  const wishes: Wishes = {
    requester,
    token,
    architecture: image?.architecture,
    replicas,
    maxPrice,
    bond,
    region,
    gpuModel,
    challengeSeconds,
    operators,
  };
  if (options.post === true && client.indexer === undefined)
    return { terms: blindTerms(spec, wishes), found: undefined };
  const offers = await listOffers(client, { token: token.address }, context);
  const found = estimate(spec, wishes, offers, await orderNow(client));
  say("estimate", `${offers.length} offers; the cheapest fit costs at most ${formatMoney(found.price, token)}`);
  return { terms: found.terms, found };
}

/** Serves the client's content until disposed. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE, CONTENT_URL_MISSING. */
export async function serveContent(
  { store, log }: Client,
  { host, port, url }: ServeOptions,
): Promise<{ url: string } & AsyncDisposable> {
  if (url === undefined && ["0.0.0.0", "::"].includes(host)) {
    throw new MarketError(
      "CONTENT_URL_MISSING",
      `Nodes cannot reach "${host}": they need an address to fetch content from.`,
      {
        hint: "Give --content-url URL, or listen on one address with --content-host.",
      },
    );
  }
  const gateway = await startGateway({ store, host, port, log });
  return { url: url ?? gateway.url, [Symbol.asyncDispose]: () => gateway.close() };
}

/** Stores the spec, and keeps it, the image and the inputs for as long as a node may ask for them. */
async function keep({ store }: Client, spec: Spec, request: Request, jobId: JobId, { signal }: Context): Promise<void> {
  const { cid } = await store.addBytes(canonicalBytes(spec), { signal });
  if (cid !== digestToCid(documentHash(spec)))
    throw new Error("the store gave the spec another CID than the chain will");
  const until = request.openUntil + request.submitWindow;
  const roots = [cid, spec.image.cid, ...spec.inputs.map((input) => input.cid)];
  for (const root of new Set(roots.filter((named) => named !== undefined))) {
    await store.pin(root, until, { owner: jobId, signal });
  }
}

function assertDelivered({ jobId, replicas }: Job): void {
  if (replicas.some(({ claim }) => claim !== null)) return;
  if (replicas.some(({ reason }) => reason === "declined" || reason === "left")) {
    throw new MarketError(
      "JOB_DECLINED",
      "The node gave the job back before it began; the deposit is in the market again.",
      {
        hint: "Order it again: another node may take it.",
        retryable: true,
      },
    );
  }
  throw new MarketError("JOB_NOT_DELIVERED", "The node handed in no result in time; the deposit was returned.", {
    hint: `Order it again. \`berth show ${jobId}\` has the details.`,
    retryable: true,
  });
}

/**
 * Writes the outputs of all replicas, decrypted; each into a folder of its own where there are several.
 * Throws TARGET_EXISTS, IDENTITY_MISSING, RESULT_INVALID, CONTENT_UNSAFE.
 */
export async function exportOutputs(
  client: Client,
  { replicas, ordered }: Verification,
  out: string | undefined,
  keyring: Keyring | undefined,
  { signal }: Context,
): Promise<string | null> {
  if (out === undefined) return null;
  for (const { replica, record, spec } of replicas) {
    const { outputs } = record ?? {};
    if (outputs === null || outputs === undefined) continue;
    const target = ordered === 1 ? out : join(out, String(replica));
    if (spec?.outputs.encryptTo !== undefined) {
      const identity = await identityOf(spec.outputs.encryptTo, keyring);
      const sealed = client.store.read(outputs.cid, { maxBytes: outputsPart(outputs, spec).maxBytes, signal });
      await writeOutputs(openSealed(sealed, identity, "outputs"), outputs, target, signal);
      continue;
    }
    const bounds = { maxBytes: outputs.bytes, maxEntries: entriesOf(outputs.files) };
    await client.store.exportTo(outputs.cid, target, { ...bounds, signal });
  }
  return out;
}

async function report(
  client: Client,
  jobId: JobId,
  verification: Verification,
  { phases, sent, outputs }: { phases: PhaseTime[]; sent: readonly Sent[]; outputs: string | null },
  context: Context,
): Promise<RunReport> {
  const job = await getJob(client, jobId, context);
  const verified = new Map(verification.replicas.map((each) => [each.replica, each]));
  const transactions = sent.filter(({ what }) => what !== "approve").map(asLine);
  const others = job.replicas.flatMap(({ replica, transactions: own }) => {
    const name = job.order.replicas > 1 ? ` ${replica}` : "";
    return [["match", own.matched] as const, [`submit${name}`, own.submitted] as const];
  });
  const seen = new Set(sent.map(({ hash }) => hash));
  for (const [what, hash] of others) {
    if (hash === undefined || seen.has(hash)) continue;
    seen.add(hash);
    const receipt = await receiptOf(client, hash, context.signal);
    transactions.push({ what, hash, gasUsed: String(receipt?.gasUsed ?? 0n) });
  }
  transactions.push(...sent.filter(({ what }) => what === "approve").map(asLine));
  return {
    jobId,
    replicas: job.replicas.map(({ replica, operator, index, state, reason, claim, charge, contentUrl }) => {
      const { record, opened = null } = verified.get(replica) ?? {};
      return {
        operator,
        index,
        state,
        outcome: record?.outcome ?? reason ?? (claim === null ? "no-result" : "unknown"),
        exitCode: record?.exitCode ?? null,
        charge: String(charge ?? claim?.charge ?? 0n),
        outputsCid: record?.outputs?.cid ?? null,
        opened,
        contentUrl,
      };
    }),
    transactions,
    phases,
    verification: { ok: verification.ok, checks: verification.checks },
    ...(verification.agreement === null ? {} : { agreement: verification.agreement }),
    outputs,
  };
}

function asLine({ what, hash, gasUsed }: Sent): RunReport["transactions"][number] {
  return { what, hash, gasUsed: String(gasUsed) };
}

/** Nothing is overwritten, and this is known before anything is paid. Throws TARGET_EXISTS. */
export async function assertFree(out: string | undefined): Promise<void> {
  if (out === undefined) return;
  const names = await readdir(out).catch((error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? [] : [out]));
  if (names.length === 0) return;
  throw new MarketError("TARGET_EXISTS", `${out} already exists and is not empty.`, {
    hint: "Name a folder that does not exist yet, or empty it.",
  });
}
