import { MarketError } from "@berth/protocol";
import { command } from "../engine/command.ts";
import type { MeshBackend } from "./backend.ts";
import { controlDevice, runTool } from "./device.ts";
import { GRACE_MS, type MeshLedger } from "./ledger.ts";

/** WireGuard inside the kernel: no process of ours, and it survives one; so the ledger is what takes it away. */
export function kernelBackend(stateDir: string, ledger: MeshLedger): MeshBackend {
  return {
    kind: "kernel",
    create: async (interfaceName, { signal }) => {
      await refuseTaken(interfaceName, signal);
      await ledger.making(interfaceName, "kernel");
      const args = ["link", "add", "dev", interfaceName, "type", "wireguard"];
      await runTool("ip", args, `Making the interface ${interfaceName}`, signal).catch(async (error: unknown) => {
        await ledger.gone();
        throw error;
      });
      return {
        ...controlDevice(interfaceName, stateDir, signal),
        pid: undefined,
        lost: new Promise<string>(() => {}),
        remove: async () => {
          const limit = AbortSignal.timeout(GRACE_MS); // the node's own signal has often fired by now
          await command("ip", ["link", "del", "dev", interfaceName], { signal: limit });
          if (await exists(interfaceName, limit)) {
            throw new MarketError("MESH_NOT_REMOVED", `The interface ${interfaceName} could not be removed.`, {
              hint: `Run: ip link del dev ${interfaceName}`,
              retryable: true,
            });
          }
          await ledger.gone();
        },
      };
    },
  };
}

/** @throws MarketError MESH_INTERFACE_TAKEN when this network namespace has an interface of that name */
export async function refuseTaken(interfaceName: string, signal: AbortSignal): Promise<void> {
  if (!(await exists(interfaceName, signal))) return;
  throw new MarketError("MESH_INTERFACE_TAKEN", `There is already a network interface called ${interfaceName}.`, {
    hint: "Choose another mesh interface name, or remove that interface if nothing uses it.",
  });
}

/** Asks `ip`, not /sys: a process that entered another network namespace still sees the /sys of the old one. */
async function exists(interfaceName: string, signal: AbortSignal): Promise<boolean> {
  return (await command("ip", ["link", "show", "dev", interfaceName], { signal })).exitCode === 0;
}
