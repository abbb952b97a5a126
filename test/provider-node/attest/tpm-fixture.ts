import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { keccak256, toHex } from "viem";
import type { EvidenceContext } from "../../../client/src/evidence/verify-evidence.ts";
import type { Endorsement } from "../../../protocol/src/index.ts";
import type { Attester, Tpm2Config } from "../../../provider-node/src/attest/index.ts";
import { createAttester, tpm2ConfigSchema } from "../../../provider-node/src/attest/index.ts";
import { type Swtpm, startSwtpm } from "../../../scripts/lib/swtpm.ts";
import { type EnrolTerms, initAuthority, type TpmAuthority } from "../../../scripts/lib/tpm-authority.ts";
import { enrolNode } from "../../../scripts/lib/tpm-enrol.ts";

export const silent = pino({ level: "silent" });
export const OPERATOR = "0x00000000000000000000000000000000000a11ce";
export const DAY_SECONDS = 86_400;
export const REPORT = keccak256(toHex("report data"));
export const IMAGE = keccak256(toHex("image"));

/** A node with an emulated TPM that a fresh authority has enrolled. */
export interface EnrolledNode {
  dir: string;
  config: Tpm2Config;
  attester: Attester;
  authority: TpmAuthority;
  endorsement: Endorsement;
  tpm: Swtpm;
  /** What a requester who trusts the authority for software TPMs expects. */
  context: EvidenceContext;
  /** Stops and starts the TPM: a reboot of the machine. */
  resetTpm(): Promise<void>;
  cleanUp(): Promise<void>;
}

/** A TPM that nobody has enrolled, in a new folder. */
export async function freshTpm(): Promise<{ dir: string; tpm: Swtpm; config: Tpm2Config }> {
  const dir = await mkdtemp(join(tmpdir(), "berth-test-tpm-"));
  const tpm = await startSwtpm({ dir: join(dir, "tpm"), log: silent });
  return { dir, tpm, config: tpm2ConfigSchema.parse({ type: "tpm2", tcti: tpm.tcti, stateDir: join(dir, "state") }) };
}

export function termsFor(tpm: Swtpm, change: Partial<EnrolTerms> = {}): EnrolTerms {
  const validSeconds = 30 * DAY_SECONDS;
  const base = { operator: OPERATOR, nodeIndex: 3, kind: "software", now: new Date(), validSeconds } as const;
  return { ...base, ekCas: tpm.ekCaCerts, ...change };
}

export async function enrolledNode(): Promise<EnrolledNode> {
  const { dir, tpm, config } = await freshTpm();
  const authority = await initAuthority(join(dir, "authority"));
  const endorsement = await enrolNode(authority, config, termsFor(tpm), { log: silent });
  const node: EnrolledNode = {
    dir,
    config,
    attester: createAttester(config, { log: silent }),
    authority,
    endorsement,
    tpm,
    context: {
      reportData: REPORT,
      imageDigest: IMAGE,
      operator: OPERATOR,
      nodeIndex: 3,
      now: Math.floor(Date.now() / 1000) + 60,
      trust: { tpmAuthorities: [{ publicKey: authority.publicKey, kind: "software" }] },
    },
    resetTpm: async () => {
      await node.tpm.stop();
      node.tpm = await startSwtpm({ dir: join(dir, "tpm"), log: silent });
    },
    cleanUp: async () => {
      await node.tpm.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
  return node;
}
