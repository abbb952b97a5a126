import {
  canonicalBytes,
  chargeDown,
  claimHash,
  depositUp,
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
} from "@berth/protocol";
import { sha256 } from "viem";
import { type Publication, publicationsOf, storedReplica, tokenAt } from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";
import type { Check } from "../evidence/checks.ts";
import { type EvidenceResult, type TrustAnchors, verifyEvidence } from "../evidence/verify-evidence.ts";
import { formatBytes, formatMoney, short } from "../format.ts";
import { chargedSeconds, checkRun, neverRan } from "./check-run.ts";
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
  replicas: VerifiedReplica[];
}

/** What was read on the way. Trust it only where every check passed. */
export interface VerifiedReplica {
  replica: number;
  record: Result | undefined;
  evidence: EvidenceResult | undefined;
}

export interface VerifyOptions {
  /** Whom to believe about TPMs. Nobody by default: evidence that was asked for then fails. */
  trust?: TrustAnchors | undefined;
}

/**
 * Checks the whole chain of hashes of a job, from the market's storage down to the bytes: nothing that a node or an
 * indexer says is taken on trust. What is missing here is fetched from the node. A check that fails does not throw; what
 * depends on it is left out. Throws JOB_UNKNOWN, NO_RESULT, and RPC errors.
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
    const prefix = done.length > 1 ? `replica ${replica.replica}: ` : "";
    checks.push(...verified.checks.map((check) => ({ ...check, name: prefix + check.name })));
    replicas.push(verified);
  }
  return { ok: checks.every(({ ok }) => ok), checks, replicas };
}

/** The checks of one replica. `job` may come from anywhere: it is compared with the chain's storage first. */
export async function verifyReplica(
  client: Client,
  job: Job,
  replica: JobReplica,
  { trust = { tpmAuthorities: [] } }: VerifyOptions,
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
  let evidence: EvidenceResult | undefined;
  const finished = () => ({ replica: replica.replica, record, evidence, checks });

  const stored = await storedReplica(client, job.jobId, replica.replica);
  const sources = await sourcesOf(client, replica, context);
  const publications = await publicationsInForce(client, replica, context);
  await check("job id", () => checkJobId(client, job));
  await check("terms", () => checkTerms(job, replica, stored.commitment));
  await check("claim", () => checkClaim(replica, stored.claimHash));
  const found = await check("result record", async () => {
    const bytes = await fetchRecord(client, replica, sources, context);
    record = readRecord(bytes);
    return checkRecordBytes(replica, record, bytes);
  });
  if (!found || record === undefined) return finished();
  const result: Result = record;
  await check("record names the job", () => checkNames(client, job, replica, result));
  let spec: Spec | undefined;
  await check("spec", async () => {
    spec = await fetchSpec(client, job, sources, context);
    return checkSpec(job, spec, result);
  });
  let publication: Publication | undefined;
  await check("node signature", async () => {
    publication = await checkSignature(client, result, publications);
    return `by ${result.signer}, published as the key of node ${replica.operator}/${replica.index}`;
  });
  await check("run", () => checkRun(result, stored));
  const asked = spec;
  if (asked !== undefined) await check("outputs", () => checkOutputs(client, result, asked, sources, context));
  await check("logs", () => checkLogs(client, result, sources, context));
  await check("charge", () => checkCharge(client, job, replica, result));
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

function checkJobId({ domain }: Client, { jobId, request }: Job): string {
  const actual = jobIdOf(domain, request);
  if (actual !== jobId) throw new Error(`The request hashes to ${actual}, not to ${jobId}.`);
  return `the request hashes to ${short(jobId)}`;
}

function checkTerms({ jobId }: Job, { replica, offerHash }: JobReplica, commitment: Hex): string {
  const expected = replicaCommitment(jobId, replica, offerHash);
  if (expected !== commitment)
    throw new Error(`The market committed to ${commitment}, but these terms give ${expected}.`);
  return `offer ${short(offerHash)} is the one that the market stored`;
}

function checkClaim({ claim }: JobReplica, stored: Hex): string {
  const actual = claim === null ? "nothing" : claimHash(claim);
  if (actual !== stored) throw new Error(`The claim hashes to ${actual}, but the market stored ${stored}.`);
  return `the claim hashes to ${short(stored)}, as the market stored`;
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
  { jobId, request }: Job,
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
    specHash: request.specHash,
  };
  for (const [field, value] of Object.entries(wanted)) {
    const said = record[field as keyof typeof wanted];
    if (said !== value) throw new Error(`The record's ${field} is ${said}, not ${value}.`);
  }
  return `chain ${domain.chainId}, job ${short(jobId)}, replica ${replica}, node ${short(operator)}/${index}`;
}

function checkSpec({ request }: Job, spec: Spec, record: Result): string {
  const hash = documentHash(spec);
  if (hash !== request.specHash)
    throw new Error(`The spec hashes to ${hash}, but the request names ${request.specHash}.`);
  const said = { ...spec.resources, maxSeconds: spec.timeouts.runSeconds };
  for (const [field, value] of Object.entries(said)) {
    const paid = request[field as keyof typeof said];
    if (paid !== value) throw new Error(`The spec has ${value} as ${field}, but the request pays for ${paid}.`);
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

/** Every file is read as an export would: what is approved can be had. */
async function checkOutputs(
  client: Client,
  { outcome, outputs }: Result,
  spec: Spec,
  sources: string[],
  context: Context,
): Promise<string> {
  if (outputs === null) {
    if (outcome === "exited") throw new Error("The command ran to its end, but the record names no outputs.");
    return `none: the run ended as "${outcome}"`;
  }
  const { cid, bytes, files } = outputs;
  const { maxBytes, maxFiles } = spec.outputs;
  if (bytes > maxBytes) throw new Error(`The record says ${bytes} bytes of outputs, but the spec allows ${maxBytes}.`);
  if (files > maxFiles) throw new Error(`The record says ${files} files of outputs, but the spec allows ${maxFiles}.`);
  await fetchPart(client, outputsPart(outputs, spec), sources, context);
  const bounds = { maxBytes: bytes, maxEntries: maxEntriesOf(outputs, spec), signal: context.signal };
  const found = await client.store.measure(cid, bounds);
  if (found.bytes !== bytes || found.files !== files) {
    const said = `${files} files and ${bytes} bytes`;
    throw new Error(`The outputs have ${found.files} files and ${found.bytes} bytes, but the record says ${said}.`);
  }
  return `${files} files, ${formatBytes(bytes)}, every block of ${cid}`;
}

async function checkLogs(client: Client, record: Result, sources: string[], context: Context): Promise<string> {
  const found: string[] = [];
  for (const name of ["stdout", "stderr"] as const) {
    const log = record[name];
    if (log === null) continue;
    if (log.bytes > MAX_LOG_BYTES)
      throw new Error(`The record says ${log.bytes} bytes of ${name}, but a sandbox keeps ${MAX_LOG_BYTES}.`);
    const part = logPart(name, log);
    await fetchPart(client, part, sources, context);
    const actual = (await client.store.getBytes(part.cid, { maxBytes: part.maxBytes, signal: context.signal })).length;
    if (actual !== log.bytes) throw new Error(`${name} has ${actual} bytes, but the record says ${log.bytes}.`);
    found.push(`${name} ${formatBytes(log.bytes)}`);
  }
  return found.length === 0 ? "none" : found.join(", ");
}

async function checkCharge(
  client: Client,
  { request }: Job,
  { offer, claim, charge: paid }: JobReplica,
  record: Result,
): Promise<string> {
  const token = await tokenAt(client, request.token);
  const money = (units: bigint) => formatMoney(units, token);
  const claimed = claim?.charge ?? 0n;
  const seconds = chargedSeconds(record);
  const earned = chargeDown(request, offer, seconds);
  if (BigInt(record.charge) !== claimed)
    throw new Error(`The record charges ${money(BigInt(record.charge))}, but ${money(claimed)} were claimed.`);
  if (claimed > earned)
    throw new Error(`${money(claimed)} were claimed, but ${seconds} s of run time earn ${money(earned)}.`);
  if (claimed > depositUp(request, offer)) throw new Error(`${money(claimed)} were claimed, more than the deposit.`);
  if (paid !== null && paid > claimed)
    throw new Error(`${money(paid)} were paid, more than the ${money(claimed)} claimed.`);
  return `${money(claimed)} for ${seconds} s, at most ${money(depositUp(request, offer))}`;
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
  const { offerHash, matchedAt, operator, index } = replica;
  return reportData({
    chainId: BigInt(client.domain.chainId),
    market: client.domain.market,
    jobId: job.jobId,
    replica: replica.replica,
    operator,
    nodeIndex: index,
    specHash: job.request.specHash,
    imageDigest: imageDigestOf(spec),
    policyHash: record.policyHash,
    wgKey,
    resultSigner: record.signer,
    nonce: jobNonce({ offerHash, matchedAt, requestNonce: job.request.nonce }),
  });
}

function wgKeysOf(publications: readonly Publication[]): Hex[] {
  return [...new Set(publications.map(({ wgKey }) => wgKey))];
}

function imageDigestOf({ image }: Spec): Hex {
  return `0x${image.digest.slice("sha256:".length)}`;
}
