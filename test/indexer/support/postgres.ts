import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chown, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually } from "../../support/eventually.ts";

/** A PostgreSQL server of one test. */
export interface PostgresServer {
  url: string;
  stop(): Promise<void>;
}

/**
 * Starts a server on a socket in a folder of its own, or returns undefined where PostgreSQL is not installed. It forgets
 * what it has when the machine dies, unless it is to be `durable`.
 */
export async function startPostgres({ durable = false } = {}): Promise<PostgresServer | undefined> {
  const bin = await installed();
  if (bin === undefined) return undefined;
  const who = await ids("postgres");
  const folder = await mkdtemp(join(tmpdir(), "berth-pg-"));
  if (who !== undefined) await chown(folder, who.uid, who.gid);
  const data = join(folder, "data");
  try {
    await promisify(execFile)(join(bin, "initdb"), ["-D", data, "-A", "trust", "-U", "berth", "--no-sync"], {
      ...who,
      cwd: folder,
    });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  const args = ["-D", data, "-k", folder, "-c", "listen_addresses=", ...(durable ? [] : ["-c", "fsync=off"])];
  const child = spawn(join(bin, "postgres"), args, { ...who, cwd: folder, stdio: "ignore" });
  const exited = once(child, "exit");
  const url = `postgres://berth@localhost/postgres?host=${encodeURIComponent(folder)}`;
  await eventually("PostgreSQL accepts connections", () => answers(bin, folder), 20_000);
  return {
    url,
    async stop() {
      child.kill("SIGINT");
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function answers(bin: string, folder: string): Promise<boolean> {
  return promisify(execFile)(join(bin, "pg_isready"), ["-h", folder]).then(
    () => true,
    () => false,
  );
}

/** The newest version in Debian's folder. */
async function installed(): Promise<string | undefined> {
  const root = "/usr/lib/postgresql";
  const versions = await readdir(root).catch(() => []);
  for (const version of versions.sort((a, b) => Number(b) - Number(a))) {
    const bin = join(root, version, "bin");
    if (await stat(join(bin, "initdb")).catch(() => undefined)) return bin;
  }
  return undefined;
}

/** PostgreSQL refuses to run as root. */
async function ids(user: string): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const { stdout } = await promisify(execFile)("id", ["-u", user]);
  const { stdout: group } = await promisify(execFile)("id", ["-g", user]);
  return { uid: Number(stdout), gid: Number(group) };
}
