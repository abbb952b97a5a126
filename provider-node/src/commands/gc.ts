import { join } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import type { Run } from "../cli/runner.ts";
import type { Config } from "../config.ts";
import { openContent } from "../content/open.ts";
import type { Machine } from "../core/ports.ts";
import type { Freed } from "../http/admin.ts";
import { askNode } from "../http/admin-client.ts";
import { openBlobFolder } from "../image/blobs.ts";
import { freeAll } from "../jobs/gc.ts";
import { openMachine } from "../jobs/open-machine.ts";
import type { Context } from "../log.ts";
import { blockTimeOf } from "../store/chain-store.ts";
import { createJournal } from "../store/journal.ts";
import { lockDataFolder, openJournalFile } from "../store/open.ts";
import { bytesText, example, facts } from "./print.ts";

const freedSchema = z.object({
  content: z.object({ pins: z.number(), blocks: z.number(), bytes: z.number() }),
  images: z.array(z.string()),
  staging: z.array(z.string()),
  freedBytes: z.number(),
});

/** `berth-node gc` */
export function addGc(program: Command, run: Run): void {
  program
    .command("gc")
    .description(
      "free disk: content past its retention, images that no job needs, leftovers; works beside a running node",
    )
    .addHelpText("after", example("berth-node gc"))
    .action((_flags: object, self: Command) =>
      run(self, async ({ config, context }) => {
        const asked = { method: "POST", path: "/gc", schema: freedSchema } as const;
        const freed: Freed = (await askNode(config.dataDir, asked, context)) ?? (await freeStopped(config, context));
        const { content, images, staging, freedBytes } = freed;
        const text = facts([
          ["freed", bytesText(freedBytes)],
          ["content", `${content.blocks} blocks, ${bytesText(content.bytes)}`],
          ["images", images.join(", ") || "none"],
          ["leftovers", staging.join(", ") || "none"],
        ]);
        return { json: freed, text };
      }),
    );
}

/** Throws NODE_RUNNING when another process holds the folder all the same. */
async function freeStopped(config: Config, context: Context): Promise<Freed> {
  const { dataDir, runId } = config;
  const lock = lockDataFolder(dataDir);
  try {
    const database = openJournalFile(dataDir);
    const content = await openContent(config);
    const machine = await machineOrNone(config, context);
    try {
      const now = () => blockTimeOf(database);
      const journal = createJournal(database);
      const folder = openBlobFolder(join(dataDir, "images", "blobs"));
      const blobs = { evict: () => folder.evict(0) };
      return await freeAll({ dataDir, runId, journal, content, machine: () => machine, blobs, now }, context);
    } finally {
      if (machine?.engine.list().length === 0) await machine.engine.release(context);
      await content.close();
      database.close();
    }
  } finally {
    lock.release();
  }
}

/** Without an engine there are no images to drop; everything else is freed all the same. */
async function machineOrNone(config: Config, context: Context): Promise<Machine | undefined> {
  const { dataDir, runId, engine } = config;
  try {
    return await openMachine({ dataDir, runId, nodeId: `${config.operator}-${config.index}`, engine }, context);
  } catch (error) {
    context.signal.throwIfAborted();
    context.log.warn({ reason: (error as Error).message }, "images are left alone");
    return undefined;
  }
}
