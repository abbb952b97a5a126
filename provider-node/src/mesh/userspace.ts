import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { MarketError } from "@berth/protocol";
import type { Context, Logger } from "../log.ts";
import type { MeshBackend, MeshDevice } from "./backend.ts";
import { controlDevice } from "./device.ts";
import { refuseTaken } from "./kernel.ts";
import { daemonArguments, GRACE_MS, type MeshLedger, socketPath } from "./ledger.ts";

/**
 * WireGuard in a `wireguard-go` process, our child in the foreground. It is in a session of its own, so that Ctrl-C reaches
 * the node alone and the node decides when the mesh goes down.
 */
export function userspaceBackend(stateDir: string, ledger: MeshLedger): MeshBackend {
  return {
    kind: "userspace",
    create: async (interfaceName, context) => {
      await refuseTaken(interfaceName, context.signal);
      await refuseServed(interfaceName);
      await ledger.making(interfaceName, "userspace");
      const daemon = await startDaemon(interfaceName, context.log).catch(async (error: unknown) => {
        await ledger.gone();
        throw error;
      });
      const device: MeshDevice = {
        ...controlDevice(interfaceName, stateDir, context.signal),
        pid: daemon.pid,
        lost: daemon.lost,
        remove: async () => {
          await daemon.stop();
          await rm(socketPath(interfaceName), { force: true });
          await ledger.gone();
        },
      };
      try {
        await ledger.started(daemon.pid);
        await untilServed(interfaceName, daemon, context);
      } catch (error) {
        await device.remove();
        throw error;
      }
      return device;
    },
  };
}

interface Daemon {
  pid: number;
  /** Fulfilled when it ends without `stop`, with its last words. */
  lost: Promise<string>;
  stop(): Promise<void>;
}

async function startDaemon(interfaceName: string, log: Logger): Promise<Daemon> {
  const child = spawn("wireguard-go", daemonArguments(interfaceName), {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"], LOG_LEVEL: "error" },
  });
  const words = lastWords(child, log);
  const exited = once(child, "exit");
  exited.catch(() => {}); // a failed start is reported once, below
  await once(child, "spawn").catch((cause: unknown) => {
    throw new MarketError("TOOL_MISSING", "wireguard-go could not be started.", {
      hint: "Install it: apt-get install wireguard-go",
      cause,
    });
  });
  child.unref();
  const pid = child.pid ?? 0; // has one: it was spawned
  const killWithUs = () => child.kill("SIGTERM"); // a crash of the node that still runs its exit handlers
  process.once("exit", killWithUs);

  let stopping = false;
  const lost = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => {
      process.off("exit", killWithUs);
      if (!stopping) resolve(`wireguard-go ended (${signal ?? `exit ${code}`}): ${words() || "it said nothing"}`);
    });
  });
  return {
    pid,
    lost,
    stop: async () => {
      stopping = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.ref();
      child.kill("SIGTERM");
      const force = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
      await exited;
      clearTimeout(force);
    },
  };
}

/** Passes the daemon's error lines to the log and keeps the latest. It logs to stdout; stderr holds a banner. */
function lastWords(child: ChildProcess, log: Logger): () => string {
  let latest = "";
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue;
    if ("unref" in stream && typeof stream.unref === "function") stream.unref();
    createInterface({ input: stream }).on("line", (line) => {
      if (!/[A-Za-z]/.test(line) || /[│┌└]/.test(line)) return;
      latest = line;
      log.debug({ daemon: line }, "wireguard-go reported");
    });
  }
  return () => latest;
}

async function untilServed(interfaceName: string, daemon: Daemon, { signal }: Context): Promise<void> {
  let lost: string | undefined;
  daemon.lost.then((reason) => {
    lost = reason;
  });
  const deadline = performance.now() + START_MS;
  while (!(await isServed(interfaceName))) {
    signal.throwIfAborted();
    if (lost !== undefined) {
      throw new MarketError("MESH_DAEMON_FAILED", lost, {
        hint: "Check that /dev/net/tun can be opened and that this process has CAP_NET_ADMIN; `doctor` tests both.",
      });
    }
    if (performance.now() > deadline) {
      throw new MarketError("MESH_DAEMON_FAILED", `wireguard-go did not answer within ${START_MS / 1000} s.`, {
        retryable: true,
      });
    }
    await wait(5);
  }
}

async function refuseServed(interfaceName: string): Promise<void> {
  if (!(await isServed(interfaceName))) return;
  throw new MarketError("MESH_INTERFACE_TAKEN", `Another wireguard-go on this machine serves ${interfaceName}.`, {
    hint: "Interface names of wireguard-go must differ across network namespaces: choose another.",
  });
}

/** Does a daemon answer on the interface's socket? A file left by a killed one does not. */
function isServed(interfaceName: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath(interfaceName));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

const START_MS = 5000;
