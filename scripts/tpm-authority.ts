#!/usr/bin/env node
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Address, errorToJson, MarketError } from "../protocol/src/index.ts";
import { tpm2ConfigSchema } from "../provider-node/src/attest/index.ts";
import { initAuthority, openAuthority } from "./lib/tpm-authority.ts";
import { enrolNode } from "./lib/tpm-enrol.ts";

const USAGE = `Vouches for the TPMs of nodes.

  tpm-authority.ts init  --dir DIR
      Makes an authority and prints its public key, which requesters list among those they trust.
  tpm-authority.ts enrol --dir DIR --ek-ca PEM [--ek-ca PEM …] --tcti TCTI --state-dir DIR
                         --operator 0x… --node-index N [--days 30] [--kind software]
      Challenges a node's TPM and stores the endorsement of its attestation key in the node's state folder.
      --kind hardware says that the given CAs certify real chips only; an emulator is then refused.`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    dir: { type: "string" },
    "ek-ca": { type: "string", multiple: true },
    tcti: { type: "string" },
    "state-dir": { type: "string" },
    operator: { type: "string" },
    "node-index": { type: "string" },
    days: { type: "string", default: "30" },
    kind: { type: "string", default: "software" },
  },
});

try {
  const [verb] = positionals;
  if (verb === "init") await init();
  else if (verb === "enrol") await enrol();
  else throw usage(`There is no command "${verb ?? ""}".`);
} catch (error) {
  console.error(JSON.stringify(errorToJson(error), null, 2));
  process.exitCode = error instanceof MarketError && error.code === "USAGE" ? 2 : 1;
}

async function init(): Promise<void> {
  const { publicKey } = await initAuthority(resolve(need("dir")));
  console.log(JSON.stringify({ publicKey }));
}

async function enrol(): Promise<void> {
  const [operator, nodeIndex, days] = [need("operator"), Number(need("node-index")), Number(values.days)];
  const kind = (["software", "hardware"] as const).find((name) => name === values.kind);
  if (kind === undefined) throw usage("--kind is software or hardware.");
  if (!/^0x[0-9a-fA-F]{40}$/.test(operator)) throw usage("--operator is an address.");
  if (!Number.isInteger(nodeIndex) || nodeIndex < 0) throw usage("--node-index is a whole number.");
  if (!(days > 0 && days <= 366)) throw usage("--days is between 0 and 366.");
  const authority = await openAuthority(resolve(need("dir")));
  const ekCas = await Promise.all((values["ek-ca"] ?? []).map((path) => readFile(path, "utf8")));
  const node = tpm2ConfigSchema.parse({ type: "tpm2", tcti: need("tcti"), stateDir: resolve(need("state-dir")) });
  const log = { info: (data: object, message: string) => console.error(message, JSON.stringify(data)) };
  const validSeconds = Math.round(days * 86_400);
  const terms = { operator: operator as Address, nodeIndex, ekCas, kind, now: new Date(), validSeconds };
  console.log(JSON.stringify(await enrolNode(authority, node, terms, { log }), null, 2));
}

function need(name: "dir" | "tcti" | "state-dir" | "operator" | "node-index"): string {
  const value = values[name];
  if (value === undefined) throw usage(`--${name} is missing.`);
  return value;
}

function usage(message: string): MarketError {
  return new MarketError("USAGE", message, { hint: USAGE });
}
