import { readFileSync } from "node:fs";
import { join } from "node:path";
import { engineConformance } from "./conformance.ts";

engineConformance("bubblewrap engine", {
  config: { type: "bubblewrap" },
  monitorOf: async ({ dataDir }, name) =>
    Number(readFileSync(join(dataDir, "bubblewrap/attempts", name, "claim"), "utf8")),
  killAfterMs: [250, 350, 400, 450, 500],
});
