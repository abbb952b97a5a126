import { openPodmanStore } from "../../../provider-node/src/engine/podman-store.ts";
import { importImage } from "../../../provider-node/src/image/import.ts";
import { quiet } from "../../support/engine.ts";

/** Imports a layout in a process of its own that a test can kill: DATA_DIR LAYOUT DIGEST. */
const [dataDir = "", layout = "", digest = ""] = process.argv.slice(2);
await importImage(layout, digest, await openPodmanStore(dataDir, quiet), quiet);
