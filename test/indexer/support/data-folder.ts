import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";

let template: Promise<string> | undefined;

/** A new data folder with an empty database in it: making one takes seconds, copying one does not. */
export async function newDataFolder(): Promise<string> {
  template ??= makeTemplate();
  const folder = await mkdtemp(join(tmpdir(), "berth-indexer-"));
  await cp(join(await template, "pg"), join(folder, "pg"), { recursive: true });
  return folder;
}

async function makeTemplate(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "berth-indexer-template-"));
  await (await openPglite(folder)).close();
  return folder;
}

after(async () => {
  if (template !== undefined) await rm(await template, { recursive: true, force: true });
});
