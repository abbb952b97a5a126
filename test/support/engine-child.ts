import type { EngineConfig } from "../../provider-node/src/config/engine.ts";
import type { AttemptSpec } from "../../provider-node/src/engine/types.ts";
import { openTestMachine, quiet } from "./engine.ts";

// Starts one attempt and then waits to be killed: node engine-child.ts ENGINE_JSON DATA_DIR SPEC_JSON
const [config = "", dataDir = "", json = ""] = process.argv.slice(2);
const spec = JSON.parse(json) as AttemptSpec;
const { engine } = await openTestMachine(JSON.parse(config) as EngineConfig, dataDir);
await engine.prepare(spec, quiet);
await engine.start(spec.name, quiet);
process.stdout.write("started\n");
await engine.wait(spec.name, quiet);
