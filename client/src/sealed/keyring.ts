import { mkdir, open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { generateX25519Identity, identityToRecipient } from "age-encryption";

/** The age identities that open what is encrypted for a requester. */
export interface Keyring {
  /** Whom to encrypt a new job to, and which file opens it. A new identity is on disk before this returns. */
  recipient(): Promise<{ recipient: string; file: string }>;
  /** An identity of one of `recipients`; undefined when none is here. Throws IDENTITY_WRONG when a file was named that has none. */
  find(recipients: readonly string[]): Promise<string | undefined>;
}

export interface KeyringOptions {
  /** Where identities that are made are kept: one file for each recipient, named by it, readable by its owner only. */
  dir: string;
  /** A file of identities, as `age-keygen` writes it: the only ones used, never copied. */
  file?: string | undefined;
}

/** An identity of one of `recipients`. Throws IDENTITY_MISSING, and what the keyring throws. */
export async function identityOf(recipients: readonly string[], keyring: Keyring | undefined): Promise<string> {
  const identity = await keyring?.find(recipients);
  if (identity !== undefined) return identity;
  throw new MarketError("IDENTITY_MISSING", "The job's outputs are encrypted, and no identity here opens them.", {
    hint: `Give --identity FILE with the secret key of one of: ${recipients.join(", ")}.`,
  });
}

/** Identities in files that `age -d -i FILE` reads too. */
export function keyringOf({ dir, file }: KeyringOptions): Keyring {
  if (file !== undefined) return keyringOfFile(file);
  return {
    async recipient() {
      const identity = await generateX25519Identity();
      const recipient = await identityToRecipient(identity);
      return { recipient, file: await keep(dir, recipient, identity) };
    },
    async find(recipients) {
      for (const recipient of recipients) {
        const [identity] = await readIdentities(join(dir, nameOf(recipient)), { optional: true });
        if (identity !== undefined) return identity;
      }
      return undefined;
    },
  };
}

function keyringOfFile(file: string): Keyring {
  const all = async () => {
    const identities = await readIdentities(file);
    return await Promise.all(
      identities.map(async (identity) => ({ identity, recipient: await identityToRecipient(identity) })),
    );
  };
  return {
    async recipient() {
      const [first] = await all();
      if (first === undefined) throw invalid(file);
      return { recipient: first.recipient, file };
    },
    async find(recipients) {
      const found = (await all()).find(({ recipient }) => recipients.includes(recipient));
      if (found !== undefined) return found.identity;
      throw new MarketError("IDENTITY_WRONG", `No identity in ${file} opens this job.`, {
        hint: `It is encrypted to ${recipients.join(", ")}; \`age-keygen -y FILE\` says whose a file is.`,
      });
    },
  };
}

/** Durable before anything is ordered: without it nobody ever reads the outputs. */
async function keep(dir: string, recipient: string, identity: string): Promise<string> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, nameOf(recipient));
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(`# created: ${new Date().toISOString()}\n# public key: ${recipient}\n${identity}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  const folder = await open(dir);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return path;
}

function nameOf(recipient: string): string {
  return `${recipient}.txt`;
}

const IDENTITY = /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/;

/** Throws IDENTITY_UNREADABLE, IDENTITY_EXPOSED, IDENTITY_INVALID. */
async function readIdentities(file: string, { optional = false } = {}): Promise<string[]> {
  let text: string;
  try {
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0 && process.platform !== "win32") {
      throw new MarketError("IDENTITY_EXPOSED", `The identity file ${file} can be read by others.`, {
        hint: `chmod 600 ${file}`,
      });
    }
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (cause instanceof MarketError) throw cause;
    if (optional && (cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new MarketError("IDENTITY_UNREADABLE", `The identity file ${file} cannot be read.`, {
      hint: "Check the path and its permissions.",
      cause,
    });
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const identities = lines.filter((line) => line !== "" && !line.startsWith("#"));
  if (identities.length === 0 || !identities.every((line) => IDENTITY.test(line))) throw invalid(file);
  for (const identity of identities) {
    await identityToRecipient(identity).catch(() => {
      throw invalid(file);
    });
  }
  return identities;
}

/** Never with the file's own text. */
function invalid(file: string): MarketError {
  return new MarketError("IDENTITY_INVALID", `The file ${file} does not hold X25519 identities of age.`, {
    hint: "`age-keygen -o FILE` makes one: lines of AGE-SECRET-KEY-1…, and comments.",
  });
}
