import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errorToJson } from "@berth/protocol";
import { pino } from "pino";
import { detectBackend } from "./detect.ts";
import { interfaceName } from "./interface-name.ts";
import { startMesh } from "./mesh.ts";

/** What a capability check found. */
export interface MeshProbe {
  name: "mesh";
  ok: boolean;
  /** A sentence. */
  detail: string;
  /** What to do, where it is not ok. */
  fix?: string;
}

/** Proves that this machine can join a mesh: brings an interface of a unique name up, looks at it and removes it. */
export async function probeMesh(signal: AbortSignal = AbortSignal.timeout(20_000)): Promise<MeshProbe> {
  const folder = await mkdtemp(join(tmpdir(), "berth-mesh-probe-"));
  try {
    const { backend, reason, fix } = await detectBackend(signal);
    if (backend === undefined) return failed(`No mesh: ${reason}.`, fix);
    const before = performance.now();
    const mesh = await startMesh({
      interfaceName: interfaceName(randomUUID(), 0),
      keyFile: join(folder, "wg.key"),
      listenPort: 0,
      prefix56: BigInt(`0x${randomUUID().replaceAll("-", "").slice(0, 14)}`),
      backend,
      stateDir: folder,
      signal,
      log: pino({ level: "silent" }),
    });
    try {
      const { publicKey } = await mesh.status();
      if (publicKey !== mesh.publicKey) return failed("The WireGuard interface did not take its key.");
      if ((await mesh.ping(mesh.address)) === undefined) return failed("The mesh address does not answer.", IPV6);
    } finally {
      await mesh.stop();
    }
    return { name: "mesh", ok: true, detail: `${sentence(reason)} (${Math.round(performance.now() - before)} ms).` };
  } catch (error) {
    const { message, hint } = errorToJson(error);
    return failed(message, hint);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const IPV6 =
  "Check that IPv6 is on here (sysctl net.ipv6.conf.all.disable_ipv6) and that `lo` is up (ip link set lo up).";

function failed(detail: string, fix?: string): MeshProbe {
  return fix === undefined ? { name: "mesh", ok: false, detail } : { name: "mesh", ok: false, detail, fix };
}

function sentence(reason: string): string {
  return `A mesh interface came up and went: ${reason}`;
}
