import { rm } from "node:fs/promises";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { z } from "zod";
import { readIfThere, writeDurably } from "../attest/durable-file.ts";
import { bootId } from "../boot-id.ts";
import { command } from "../engine/command.ts";
import type { Context } from "../log.ts";
import { parseJson } from "../parse-json.ts";
import { endProcess, findByCommand, identify, isAlive, type ProcessId } from "../process-id.ts";
import type { BackendKind } from "./backend.ts";

const processSchema = z.strictObject({ pid: z.int().min(1), startTicks: z.int() });
const recordSchema = z.strictObject({
  bootId: z.string(),
  interfaceName: z.string(),
  kind: z.enum(["kernel", "userspace"]),
  /** The node process that made it. */
  owner: processSchema,
  /** The daemon behind the interface; absent for the kernel's own, and when the owner died before it could tell. */
  daemon: processSchema.optional(),
});

/** Remembers on disk what the mesh made on this machine, so that a start after a kill -9 can take it away. */
export interface MeshLedger {
  /** Records that the interface is about to be made. */
  making(interfaceName: string, kind: BackendKind): Promise<void>;
  /** Records the daemon behind it. */
  started(pid: number): Promise<void>;
  /** Records that nothing is left. */
  gone(): Promise<void>;
}

/** The ledger of one data folder. */
export function meshLedger(stateDir: string): MeshLedger {
  const path = ledgerPath(stateDir);
  let record: z.infer<typeof recordSchema> | undefined;
  const write = () => writeDurably(path, `${JSON.stringify(record)}\n`);
  return {
    making: async (interfaceName, kind) => {
      const owner = await identify(process.pid);
      if (!owner) throw new Error("/proc is not mounted: this process cannot be identified");
      record = { bootId: bootId(), interfaceName, kind, owner };
      await write();
    },
    started: async (pid) => {
      const daemon = await identify(pid);
      if (!record || !daemon) return; // it died at once; its exit is reported elsewhere
      record = { ...record, daemon };
      await write();
    },
    gone: () => rm(path, { force: true }),
  };
}

/**
 * Takes away what a node that died left behind: its daemon, interface and socket. A daemon is found from anywhere on the
 * machine; an interface of the kernel's own only from the node's network namespace. Safe to call at any time, and does nothing where nothing was left.
 * @throws MarketError MESH_IN_USE when the node that made it is alive
 */
export async function reapMesh(stateDir: string, { signal, log }: Context): Promise<void> {
  const text = await readIfThere(ledgerPath(stateDir));
  if (text === undefined) return;
  const parsed = recordSchema.safeParse(parseJson(text.toString("utf8")));
  if (!parsed.success) {
    throw new MarketError("MESH_LEDGER_INVALID", `${ledgerPath(stateDir)} is not a mesh ledger.`, {
      hint: "Look for a left-over wireguard-go process of this node, end it, and delete the file.",
      cause: parsed.error,
    });
  }
  const { interfaceName, kind, owner, daemon, bootId: madeIn } = parsed.data;
  if (madeIn === bootId()) {
    if (await isAlive(owner)) {
      throw new MarketError("MESH_IN_USE", `Process ${owner.pid} runs the mesh interface ${interfaceName}.`, {
        hint: "Stop the other node first, or give this one its own data folder.",
      });
    }
    const daemons = daemon ? [daemon] : kind === "userspace" ? await daemonsOf(interfaceName) : [];
    for (const left of daemons) await endProcess(left, GRACE_MS);
    await rm(socketPath(interfaceName), { force: true });
    await command("ip", ["link", "del", "dev", interfaceName], { signal }); // fails where it went with its daemon
    log.info({ interfaceName, kind, daemons: daemons.map(({ pid }) => pid) }, "left-over mesh interface removed");
  }
  await rm(ledgerPath(stateDir), { force: true });
}

/** Where `wg` expects the socket of a userspace interface. One folder for all network namespaces. */
export function socketPath(interfaceName: string): string {
  return `/var/run/wireguard/${interfaceName}.sock`;
}

/** The arguments that a daemon is started with, and found by. */
export function daemonArguments(interfaceName: string): string[] {
  return ["-f", interfaceName];
}

/** How long a daemon may take to end politely. */
export const GRACE_MS = 3000;

function daemonsOf(interfaceName: string): Promise<ProcessId[]> {
  return findByCommand("wireguard-go", daemonArguments(interfaceName));
}

function ledgerPath(stateDir: string): string {
  return join(stateDir, "mesh-ledger.json");
}
