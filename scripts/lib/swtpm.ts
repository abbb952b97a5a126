import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { delimiter, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { MarketError } from "../../protocol/src/index.ts";

const run = promisify(execFile);
const START_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 3_000;
/** A socket's path fits into 107 bytes; `.ctrl` is appended to ours. */
const MAX_SOCKET_PATH = 102;

/** A running TPM emulator. Its certificates come from a CA made for it alone and prove no hardware. */
export interface Swtpm {
  /** For tpm2-tools and a node's `attest.tcti`. */
  tcti: string;
  /** PEM certificates of the private CA, and where they lie. */
  ekCaCerts: string[];
  ekCaFiles: string[];
  pid: number;
  /** Ends the process and removes its sockets; the TPM's state stays in the folder. May be called twice. */
  stop(): Promise<void>;
}

export interface SwtpmOptions {
  /** The TPM's own folder. A folder that holds one already continues it, as after a reboot: registers start at zero. */
  dir: string;
  log: { info(data: object, message: string): void };
  signal?: AbortSignal;
}

/**
 * Starts a TPM 2.0 emulator that is reached by a unix socket in its folder. It runs in a session of its own, so that
 * Ctrl-C in a terminal does not take it away before its users have stopped. Throws SWTPM_MISSING, SWTPM_RUNNING,
 * SWTPM_PATH_TOO_LONG and SWTPM_FAILED.
 */
export async function startSwtpm({ dir, log, signal }: SwtpmOptions): Promise<Swtpm> {
  const root = resolve(dir);
  const [socket, control] = [join(root, "s"), join(root, "s.ctrl")];
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH)
    throw new MarketError("SWTPM_PATH_TOO_LONG", `The path ${socket} is too long for a socket.`, {
      hint: "Use a folder with a shorter path.",
    });
  await mkdir(root, { recursive: true, mode: 0o700 });
  // A second emulator would take the socket over from the first before it finds the state locked.
  if (await isListening(control))
    throw new MarketError("SWTPM_RUNNING", `A TPM emulator already runs in ${root}.`, {
      hint: "Stop it first, or use another folder.",
    });
  await manufacture(root, signal);
  const program = await find("swtpm");
  const output = await open(join(root, "swtpm.log"), "a", 0o600);
  const args = [
    ...["socket", "--tpm2", "--tpmstate", `dir=${join(root, "state")}`, "--flags", "not-need-init,startup-clear"],
    ...["--server", `type=unixio,path=${socket}`, "--ctrl", `type=unixio,path=${control}`],
  ];
  const child = spawn(program, args, { detached: true, stdio: ["ignore", output.fd, output.fd] });
  const ended = once(child, "exit");
  ended.catch(() => undefined);
  child.unref();
  await output.close();

  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.ref();
      child.kill("SIGTERM");
      const force = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS);
      await ended;
      clearTimeout(force);
    }
    await Promise.all([socket, control].map((path) => rm(path, { force: true })));
  };
  try {
    await untilListening(control, () => child.exitCode === null && child.signalCode === null, signal);
  } catch (cause) {
    await stop();
    signal?.throwIfAborted();
    throw new MarketError("SWTPM_FAILED", "The TPM emulator did not start.", {
      hint: `Read ${join(root, "swtpm.log")}.`,
      cause,
    });
  }
  const ekCaFiles = ["issuercert.pem", "swtpm-localca-rootca-cert.pem"].map((name) => join(root, "ca", name));
  const ekCaCerts = await Promise.all(ekCaFiles.map((path) => readFile(path, "utf8")));
  const { pid } = child;
  if (pid === undefined) throw new MarketError("SWTPM_FAILED", "The TPM emulator has no process id.");
  log.info({ pid, dir: root }, "TPM emulator started");
  return { tcti: `swtpm:path=${socket}`, ekCaCerts, ekCaFiles, pid, stop };
}

/** Makes the TPM with its endorsement key and certificate, once per folder. A crash half-way starts over. */
async function manufacture(root: string, signal: AbortSignal | undefined): Promise<void> {
  if (await exists(join(root, "state"))) return;
  const [draft, ca] = [join(root, "state.new"), join(root, "ca")];
  for (const folder of [draft, ca]) {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 });
  }
  await writeFile(
    join(root, "ca.conf"),
    `statedir = ${ca}\nsigningkey = ${ca}/signkey.pem\nissuercert = ${ca}/issuercert.pem\ncertserial = ${ca}/certserial\n`,
  );
  await writeFile(
    join(root, "ca.options"),
    "--platform-manufacturer none\n--platform-version 1\n--platform-model none\n",
  );
  await writeFile(
    join(root, "setup.conf"),
    `create_certs_tool = ${await find("swtpm_localca")}\ncreate_certs_tool_config = ${join(root, "ca.conf")}\n` +
      `create_certs_tool_options = ${join(root, "ca.options")}\nactive_pcr_banks = sha256\n`,
  );
  const args = ["--tpm2", "--tpmstate", draft, "--create-ek-cert", "--pcr-banks", "sha256", "--config"];
  try {
    await run(await find("swtpm_setup"), [...args, join(root, "setup.conf")], signal ? { signal } : {});
  } catch (cause) {
    signal?.throwIfAborted();
    const said = (cause as { stdout?: string }).stdout?.trim().split("\n").at(-1) ?? String(cause);
    throw new MarketError("SWTPM_FAILED", `The TPM emulator could not be set up: ${said}`, { cause });
  }
  await rename(draft, join(root, "state"));
}

async function untilListening(socket: string, alive: () => boolean, signal: AbortSignal | undefined): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await isListening(socket))) {
    signal?.throwIfAborted();
    if (!alive()) throw new Error("The process ended.");
    if (Date.now() > deadline) throw new Error(`It did not listen within ${START_TIMEOUT_MS / 1000} s.`);
    await delay(5);
  }
}

async function isListening(socket: string): Promise<boolean> {
  const connection = connect(socket);
  try {
    await once(connection, "connect");
    return true;
  } catch {
    return false;
  } finally {
    connection.destroy();
  }
}

async function find(program: string): Promise<string> {
  for (const folder of [...(process.env["PATH"] ?? "").split(delimiter), "/usr/bin", "/usr/share/swtpm"]) {
    const path = join(folder, program);
    if (await exists(path, constants.X_OK)) return path;
  }
  throw new MarketError("SWTPM_MISSING", `The program ${program} is not installed.`, {
    hint: "Install the packages swtpm and swtpm-tools.",
  });
}

async function exists(path: string, mode = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
