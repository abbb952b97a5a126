// Owns a devnet until it is killed: node e2e-owner.ts RUNS_FOLDER. Sends { config, image } when a job can be ordered.
import { startDevnet } from "../../scripts/lib/devnet.ts";
import { stderrProgress, stopSignal } from "../../scripts/lib/progress.ts";

const [, , runsFolder = ""] = process.argv;
const signal = stopSignal();
const progress = stderrProgress();
const devnet = await startDevnet({ nodes: 2, rpcPort: 0, indexerPort: 0, runsFolder, progress, signal });
process.send?.({ config: devnet.clientConfigFile });
signal.addEventListener("abort", () => void devnet.stop().then(() => process.exit(0)));
