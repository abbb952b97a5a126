import {
  canonicalBytes,
  chargeOfDown,
  depositOf,
  documentHash,
  type Hex,
  type JobId,
  jobIdOf,
  jobNonce,
  MarketError,
  type Result,
  recoverResultSigner,
  replicaCommitment,
  reportData,
  type Spec,
  termsOf,
} from "@berth/protocol";
import { sha256 } from "viem";
import { type Publication, publicationsOf, storedReplica, tokenAt } from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";
import type { Check } from "../evidence/checks.ts";
import { type EvidenceResult, type TrustAnchors, verifyEvidence } from "../evidence/verify-evidence.ts";
import { formatBytes, formatMoney, short } from "../format.ts";
import type { Keyring } from "../sealed/keyring.ts";
import { chargedSeconds, checkRun, neverRan } from "./check-run.ts";
import { checkSealedLog, checkSealedOutputs } from "./check-sealed.ts";
import { type Agreement, compareResults } from "./compare-results.ts";
import {
  fetchPart,
  fetchRecord,
  fetchSpec,
  logPart,
  MAX_EVIDENCE_BYTES,
  MAX_LOG_BYTES,
  maxEntriesOf,
  outputsPart,
  readRecord,
  sourcesOf,
} from "./fetch-result.ts";
import { getJob, type Job, type JobReplica } from "./get-job.ts";

export interface Verification {
  /** Did every check pass? */
  ok: boolean;
  checks: Check[];
  /** Those that have a result. */
  replicas: VerifiedReplica[];
  /** How many were ordered. */
  ordered: number;
  /** What the results have in common; null where only one replica was ordered, or encrypted outputs were not opened. */
  agreement: Agreement | null;
}

/** What was read on the way. Trust it only where every check passed. */
export interface VerifiedReplica {
  replica: number;
  /** Did every check of this replica pass? */
  ok: boolean;
  record: Result | undefined;
  /** What was ordered. */
  spec: Spec | undefined;
  /** Names the outputs: equal ones have the same. Their CID, or the digest of what was decrypted; null when neither is known. */
  outputsName: string | null;
  /** Was everything decrypted that is encrypted? Null where nothing is. False: only its hashes are known to be right. */
  opened: boolean | null;
  evidence: EvidenceResult | undefined;
}

export interface VerifyOptions {
  /** Whom to believe about TPMs. Nobody by default: evidence that was asked for then fails. */
  trust?: TrustAnchors | undefined;
  /** Opens what was encrypted, so that its content is checked too. */
  keyring?: Keyring | undefined;
}

/**
 * Checks the whole chain of hashes of a job, from the market's storage down to the bytes: nothing that a node or an
 * indexer says is taken on trust. What is missing here is fetched from the node. A check that fails does not throw; what
 * depends on it is left out. Throws JOB_UNKNOWN, NO_RESULT, RPC errors and those of the keyring.
 */
export async function verifyJob(
  client: Client,
  jobId: JobId,
  options: VerifyOptions = {},
  context: Context = {},
): Promise<Verification> {
  const job = await getJob(client, jobId, context);
  const done = job.replicas.filter(({ claim }) => claim !== null);
  if (done.length === 0) {
    throw new MarketError("NO_RESULT", `The job is ${job.state}: there is no result to verify.`, {
      hint: `\`berth show ${jobId}\` says how it stands.`,
    });
  }
  const checks: Check[] = [];
  const replicas: VerifiedReplica[] = [];
  for (const replica of done) {
    const verified = await verifyReplica(client, job, replica, options, context);
    const prefix = job.order.replicas > 1 ? `replica ${replica.replica}: ` : "";
    checks.push(...verified.checks.map((check) => ({ ...check, name: prefix + check.name })));
    replicas.push(verified);
  }
  const agreement = job.order.replicas > 1 ? agreementOf(job, replicas) : null;
  return { ok: checks.every(({ ok }) => ok), checks, replicas, ordered: job.order.replicas, agreement };
}

function agreementOf({ order }: Job, replicas: readonly VerifiedReplica[]): Agreement | null {
  const good = replicas.filter(({ ok }) => ok);
  if (good.some(({ record, outputsName }) => record?.outputs != null && outputsName === null)) return null;
  const compared = good.map(({ replica, record, outputsName }) => {
    const outputs = outputsName === null ? null : { cid: outputsName };
    return { replica, record: record && { ...record, outputs } };
  });
  return compareResults(order, compared);
}

/** The checks of one replica. `job` may come from anywhere: it is compared with the chain's storage first. */
export async function verifyReplica(
  client: Client,
  job: Job,
  replica: JobReplica,
  { trust = { tpmAuthorities: [] }, keyring }: VerifyOptions,
  context: Context = {},
): Promise<VerifiedReplica & { checks: Check[] }> {
  const checks: Check[] = [];
  /** What `run` returns is the detail, what it throws the reason; true when it passed. */
  const check = async (name: string, run: () => Promise<string> | string): Promise<boolean> => {
    try {
      checks.push({ name, ok: true, detail: await run() });
      return true;
    } catch (error) {
      context.signal?.throwIfAborted();
      if (error instanceof MarketError && error.code.startsWith("RPC_")) throw error; // unknown is not wrong
      checks.push({ name, ok: false, detail: error instanceof Error ? error.message : String(error) });
      return false;
    }
  };
  let record: Result | undefined;
  let spec: Spec | undefined;
  let outputsName: string | null = null;
  let opened: boolean | null = null;
  let evidence: EvidenceResult | undefined;
  const finished = () => {
    const ok = checks.every((each) => each.ok);
    return { replica: replica.replica, ok, record, spec, outputsName, opened, evidence, checks };
  };

  const stored = await storedReplica(client, job.jobId, replica.replica);
  const sources = await sourcesOf(client, replica, context);
  const publications = await publicationsInForce(client, replica, context);
  await check("job id", () => checkJobId(client, job, replica));
  await check("terms", () => checkTerms(client, job, replica));
  await check("commitment", () => checkCommitment(replica, stored.commitment));
  const found = await check("result record", async () => {
    const bytes = await fetchRecord(client, replica, sources, context);
    record = readRecord(bytes);
    return checkRecordBytes(replica, record, bytes);
  });
  if (!found || record === undefined) return finished();
  const result: Result = record;
  await check("record names the job", () => checkNames(client, job, replica, result));
  await check("spec", async () => {
    spec = await fetchSpec(client, job, sources, context);
    return checkSpec(job, spec, result);
  });
  let publication: Publication | undefined;
  await check("node signature", async () => {
    publication = await checkSignature(client, result, publications);
    return `by ${result.signer}, published as the key of node ${replica.operator}/${replica.index}`;
  });
  const times = { ...stored, submittedAt: Math.min(replica.submittedAt, stored.lastAt) };
  await check("run", () => checkRun(result, times));
  const asked: Spec | undefined = spec;
  const opener = await openerOf(asked, keyring);
  if (asked !== undefined) {
    await check("outputs", async () => {
      const found = await checkOutputs(client, result, asked, opener, sources, context);
      outputsName = found.name;
      return found.detail;
    });
  }
  await check("logs", () => checkLogs(client, result, opener, sources, context));
  if (opener !== undefined && [result.outputs, result.stdout, result.stderr].some((each) => each !== null)) {
    opened = opener.identity !== undefined && checks.every(({ name, ok }) => ok || !["outputs", "logs"].includes(name));
  }
  await check("charge", () => checkCharge(client, replica, result));
  if (asked !== undefined) {
    await check("evidence", async () => {
      const about = { client, job, replica, record: result, spec: asked, publications, publication };
      const judged = await checkEvidence(about, sources, trust, context);
      evidence = judged?.result;
      return judged?.detail ?? "none was asked for";
    });
  }
  return finished();
}

function checkJobId({ domain }: Client, { jobId, request }: Job, { terms }: JobReplica): string {
  if (terms.job.jobId !== jobId) throw new Error(`The terms are those of job ${terms.job.jobId}, not of ${jobId}.`);
  if (request === null) return "the request is not to be had here; the market's terms name the job";
  const actual = jobIdOf(domain, request);
  if (actual !== jobId) throw new Error(`The request hashes to ${actual}, not to ${jobId}.`);
  return `the request hashes to ${short(jobId)}`;
}

/** Are the terms what the orders came to, word for word, and those of the node that is asked? */
function checkTerms(
  { domain }: Client,
  { order, request }: Job,
  { replica, operator, index, ...of }: JobReplica,
): string {
  const { job, assignment } = of.terms;
  compareWords("job", job, order);
  compareWords("assignment", assignment, { replica, operator, index });
  if (request !== null) compareWords("job", request, order);
  const { offerHash } = assignment;
  if (request === null || of.offer === null) return `offer ${short(offerHash)}, as the market announced it`;
  const came = termsOf(domain, request, of.offer, replica);
  compareWords("job", job, came.job);
  compareWords("assignment", assignment, came.assignment);
  return `what the request and offer ${short(offerHash)} came to`;
}

/** Throws an Error that names the first word of `wanted` that `actual` has otherwise. */
function compareWords(what: string, actual: object, wanted: object): void {
  const said = new Map<string, unknown>(Object.entries(actual));
  for (const [word, value] of Object.entries(wanted))
    if (said.get(word) !== value)
      throw new Error(`The ${what}'s ${word} is ${said.get(word)}, but the orders give ${value}.`);
}

function checkCommitment({ terms, claim }: JobReplica, stored: Hex): string {
  if (claim === null) throw new Error("There is no claim.");
  const expected = replicaCommitment(terms, claim);
  if (expected !== stored)
    throw new Error(`The market committed to ${stored}, but these terms and this claim give ${expected}.`);
  return `terms and claim hash to ${short(stored)}, as the market stored`;
}

function checkRecordBytes({ claim }: JobReplica, record: Result, bytes: Uint8Array): string {
  if (claim === null) throw new Error("There is no claim.");
  const actual = sha256(bytes);
  if (actual !== claim.resultHash) throw new Error(`The record hashes to ${actual}, not to ${claim.resultHash}.`);
  if (BigInt(bytes.length) !== claim.resultBytes)
    throw new Error(`The record has ${bytes.length} bytes, but ${claim.resultBytes} were claimed.`);
  if (sha256(canonicalBytes(record)) !== actual) throw new Error("The record is not in canonical form.");
  return `${bytes.length} bytes hash to ${short(actual)}`;
}

function checkNames(
  { domain }: Client,
  { jobId, order }: Job,
  { replica, operator, index }: JobReplica,
  record: Result,
): string {
  const wanted = {
    chainId: domain.chainId,
    market: domain.market,
    jobId,
    replica,
    operator,
    index,
    specHash: order.specHash,
  };
  for (const [field, value] of Object.entries(wanted)) {
    const said = record[field as keyof typeof wanted];
    if (said !== value) throw new Error(`The record's ${field} is ${said}, not ${value}.`);
  }
  return `chain ${domain.chainId}, job ${short(jobId)}, replica ${replica}, node ${short(operator)}/${index}`;
}

function checkSpec({ order }: Job, spec: Spec, record: Result): string {
  const hash = documentHash(spec);
  if (hash !== order.specHash) throw new Error(`The spec hashes to ${hash}, but the order names ${order.specHash}.`);
  const said = { ...spec.resources, maxSeconds: spec.timeouts.runSeconds };
  for (const [field, value] of Object.entries(said)) {
    const paid = order[field as keyof typeof said];
    if (paid !== value) throw new Error(`The spec has ${value} as ${field}, but the order pays for ${paid}.`);
  }
  if (record.imageDigest !== null && record.imageDigest !== spec.image.digest) {
    throw new Error(`The record is about the image ${record.imageDigest}, but the spec names ${spec.image.digest}.`);
  }
  return `the spec hashes to ${short(hash)}; image ${short(spec.image.digest.slice("sha256:".length))}`;
}

/** The node's keys between match and result. A key that was rotated in between counts: the job goes on. */
async function publicationsInForce(
  client: Client,
  { operator, index, blocks }: JobReplica,
  { signal }: Context,
): Promise<Publication[]> {
  const all = await publicationsOf(client, operator, index, signal);
  const until = blocks.submitted ?? Number.POSITIVE_INFINITY;
  return all.filter((publication) => publication.fromBlock <= until && publication.untilBlock >= blocks.matched);
}

async function checkSignature(
  { domain }: Client,
  record: Result,
  publications: readonly Publication[],
): Promise<Publication> {
  const signer = (await recoverResultSigner(domain, record)).toLowerCase();
  if (signer !== record.signer) throw new Error(`The record is signed by ${signer}, but names ${record.signer}.`);
  const publication = publications.findLast(({ key }) => key === signer);
  if (publication !== undefined) return publication;
  throw new Error(`The record is signed by ${signer}, which was no key of this node between match and result.`);
}

/** Of what has to be encrypted: what opens it, if that is here. Undefined where nothing has to be. */
type Opener = { identity: string | undefined } | undefined;

async function openerOf(spec: Spec | undefined, keyring: Keyring | undefined): Promise<Opener> {
  const recipients = spec?.outputs.encryptTo;
  return recipients === undefined ? undefined : { identity: await keyring?.find(recipients) };
}

/** Every file is read as an export would: what is approved can be had. */
async function checkOutputs(
  client: Client,
  { outcome, outputs }: Result,
  spec: Spec,
  opener: Opener,
  sources: string[],
  context: Context,
): Promise<{ detail: string; name: string | null }> {
  if (outputs === null) {
    if (outcome === "exited") throw new Error("The command ran to its end, but the record names no outputs.");
    return { detail: `none: the run ended as "${outcome}"`, name: null };
  }
  const { cid, bytes, files } = outputs;
  const { maxBytes, maxFiles } = spec.outputs;
  if (bytes > maxBytes) throw new Error(`The record says ${bytes} bytes of outputs, but the spec allows ${maxBytes}.`);
  if (files > maxFiles) throw new Error(`The record says ${files} files of outputs, but the spec allows ${maxFiles}.`);
  const part = outputsPart(outputs, spec);
  await fetchPart(client, part, sources, context);
  if (opener !== undefined) {
    const { detail, digest } = await checkSealedOutputs(client, outputs, part, opener.identity, context);
    return { detail, name: digest ?? null };
  }
  const bounds = { maxBytes: bytes, maxEntries: maxEntriesOf(outputs, spec), signal: context.signal };
  const found = await client.store.measure(cid, bounds);
  if (found.bytes !== bytes || found.files !== files) {
    const said = `${files} files and ${bytes} bytes`;
    throw new Error(`The outputs have ${found.files} files and ${found.bytes} bytes, but the record says ${said}.`);
  }
  return { detail: `${files} files, ${formatBytes(bytes)}, every block of ${cid}`, name: cid };
}

async function checkLogs(
  client: Client,
  record: Result,
  opener: Opener,
  sources: string[],
  context: Context,
): Promise<string> {
  const found: string[] = [];
  for (const name of ["stdout", "stderr"] as const) {
    const log = record[name];
    if (log === null) continue;
    if (log.bytes > MAX_LOG_BYTES)
      throw new Error(`The record says ${log.bytes} bytes of ${name}, but a sandbox keeps ${MAX_LOG_BYTES}.`);
    const part = logPart(name, log);
    await fetchPart(client, part, sources, context);
    if (opener !== undefined) {
      found.push(await checkSealedLog(client, log, part, opener.identity, context));
      continue;
    }
    const actual = (await client.store.getBytes(part.cid, { maxBytes: part.maxBytes, signal: context.signal })).length;
    if (actual !== log.bytes) throw new Error(`${name} has ${actual} bytes, but the record says ${log.bytes}.`);
    found.push(`${name} ${formatBytes(log.bytes)}`);
  }
  return found.length === 0 ? "none" : found.join(", ");
}

async function checkCharge(
  client: Client,
  { terms, claim, charge: paid }: JobReplica,
  record: Result,
): Promise<string> {
  const token = await tokenAt(client, terms.job.token);
  const money = (units: bigint) => formatMoney(units, token);
  const claimed = claim?.charge ?? 0n;
  const seconds = chargedSeconds(record);
  const earned = chargeOfDown(terms, seconds);
  const deposit = depositOf(terms);
  if (BigInt(record.charge) !== claimed)
    throw new Error(`The record charges ${money(BigInt(record.charge))}, but ${money(claimed)} were claimed.`);
  if (claimed > earned)
    throw new Error(`${money(claimed)} were claimed, but ${seconds} s of run time earn ${money(earned)}.`);
  if (claimed > deposit) throw new Error(`${money(claimed)} were claimed, more than the deposit.`);
  if (paid !== null && paid > claimed)
    throw new Error(`${money(paid)} were paid, more than the ${money(claimed)} claimed.`);
  return `${money(claimed)} for ${seconds} s, at most ${money(deposit)}`;
}

interface EvidenceCase {
  client: Client;
  job: Job;
  replica: JobReplica;
  record: Result;
  spec: Spec;
  publications: readonly Publication[];
  /** The one whose key signed the record, if it is known. */
  publication: Publication | undefined;
}

async function checkEvidence(
  about: EvidenceCase,
  sources: string[],
  trust: TrustAnchors,
  context: Context,
): Promise<{ detail: string; result: EvidenceResult | undefined } | undefined> {
  const { client, record, spec, replica } = about;
  if (spec.attestation === "none") return undefined;
  if (record.evidence === null && neverRan(record)) {
    return { detail: `none: the run ended as "${record.outcome}" before anything started`, result: undefined };
  }
  if (record.evidence === null)
    throw new Error(`The spec asks for ${spec.attestation} evidence, but the record has none.`);
  if (spec.attestation === "tpm2" && trust.tpmAuthorities.length === 0) {
    throw new MarketError(
      "EVIDENCE_AUTHORITY_MISSING",
      "Nobody is trusted to vouch for TPMs: no authority was given.",
      {
        hint: "Give --tpm-authority FILE.",
      },
    );
  }
  await fetchPart(client, { cid: record.evidence, maxBytes: MAX_EVIDENCE_BYTES }, sources, context);
  const bytes = await client.store.getBytes(record.evidence, { maxBytes: MAX_EVIDENCE_BYTES, signal: context.signal });
  const document: unknown = JSON.parse(new TextDecoder().decode(bytes));
  const candidates = about.publication === undefined ? about.publications : [about.publication];
  const judged = await Promise.all(
    wgKeysOf(candidates).map((wgKey) =>
      verifyEvidence(document, {
        reportData: reportDataOf(about, wgKey),
        imageDigest: imageDigestOf(spec),
        operator: replica.operator,
        nodeIndex: replica.index,
        now: replica.submittedAt,
        trust,
      }),
    ),
  );
  const result = judged.find(({ ok }) => ok) ?? judged[0];
  if (result === undefined) throw new Error("The registry names no key of this node that the evidence could be about.");
  const wrong = result.checks.find(({ ok }) => !ok);
  if (wrong !== undefined) throw new Error(`${wrong.name}: ${wrong.detail}`);
  if (!result.ok) throw new Error(`The evidence is ${result.verdict}.`);
  return { detail: evidenceWords(result, record), result };
}

function evidenceWords({ kind, checks }: EvidenceResult, { policyHash }: Result): string {
  const what =
    kind === "software-tpm"
      ? "software TPM (an emulator: it proves no hardware)"
      : kind === "hardware-tpm"
        ? "hardware TPM"
        : kind;
  return `${what}, ${checks.length} checks; bound to this job, image, node and signer, and to the sandbox policy ${policyHash}`;
}

function reportDataOf({ client, job, replica, record, spec }: EvidenceCase, wgKey: Hex): Hex {
  const { matchedAt, operator, index } = replica;
  const { offerHash } = replica.terms.assignment;
  return reportData({
    chainId: BigInt(client.domain.chainId),
    market: client.domain.market,
    jobId: job.jobId,
    replica: replica.replica,
    operator,
    nodeIndex: index,
    specHash: job.order.specHash,
    imageDigest: imageDigestOf(spec),
    policyHash: record.policyHash,
    wgKey,
    resultSigner: record.signer,
    nonce: jobNonce({ offerHash, matchedAt, jobId: job.jobId }),
  });
}

function wgKeysOf(publications: readonly Publication[]): Hex[] {
  return [...new Set(publications.map(({ wgKey }) => wgKey))];
}

function imageDigestOf({ image }: Spec): Hex {
  return `0x${image.digest.slice("sha256:".length)}`;
}
