// Imported first by every program: the code that it loads after this is kept compiled for its next start, which saves a
// third of the time until it does something. What cannot be kept is compiled again; NODE_DISABLE_COMPILE_CACHE turns it off.
import { existsSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { join } from "node:path";

/** Beside the packages: who may write there can change the programs anyway. */
const packages = join(import.meta.dirname, "../../node_modules");
if (existsSync(packages)) enableCompileCache(join(packages, ".cache", "berth"));
