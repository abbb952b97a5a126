// A node's mesh in a process of its own, so that a test can put it into a network namespace and kill it.
// The parent calls methods of the mesh over the IPC channel, one at a time.
import { pino } from "pino";
import { type Mesh, type MeshOptions, startMesh } from "../../../provider-node/src/mesh/mesh.ts";

const log = pino({ level: "silent" });
const ending = new AbortController();
let mesh: Mesh | undefined;

process.on("message", async ({ method, args }: { method: string; args: unknown[] }) => {
  try {
    process.send?.({ value: await call(method, args) });
  } catch (error) {
    process.send?.({ error: error instanceof Error ? error.message : String(error) });
  }
});

async function call(method: string, args: unknown[]): Promise<unknown> {
  if (method === "start") {
    mesh = await startMesh({ ...(args[0] as Omit<MeshOptions, "signal" | "log">), signal: ending.signal, log });
    return { address: mesh.address, publicKey: mesh.publicKey, wgKey: mesh.wgKey, backend: mesh.backend };
  }
  if (!mesh) throw new Error("not started");
  if (method === "abort") return ending.abort();
  if (method === "applyNodes") return mesh.applyNodes(args[0] as Parameters<Mesh["applyNodes"]>[0]);
  if (method === "ping") return mesh.ping(String(args[0]));
  if (method === "status") return mesh.status();
  if (method === "stop") return mesh.stop();
  throw new Error(`no method ${method}`);
}
