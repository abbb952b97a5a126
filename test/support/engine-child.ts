import { createPodmanEngine } from "../../provider-node/src/engine/podman.ts";
import { openPodmanStore } from "../../provider-node/src/engine/podman-store.ts";
import type { AttemptSpec } from "../../provider-node/src/engine/types.ts";
import { quiet } from "./engine.ts";

// Starts one attempt and then waits to be killed: node engine-child.ts DATA_DIR SPEC_JSON
const [dataDir = "", json = ""] = process.argv.slice(2);
const spec = JSON.parse(json) as AttemptSpec;
const engine = createPodmanEngine({ store: await openPodmanStore(dataDir, quiet), runId: "test", nodeId: "node-a" });
await engine.prepare(spec, quiet);
await engine.start(spec.name, quiet);
process.stdout.write("started\n");
await engine.wait(spec.name, quiet);
