import type { Rpc } from "@berth/chain";
import { jobMarketAbi } from "@berth/protocol";
import { encodeFunctionData } from "viem";
import { readRegistration } from "../chain/registration.ts";
import type { JobTools } from "../core/ports.ts";
import { type LiveStatus, startAdminServer } from "../http/admin.ts";
import type { Context } from "../log.ts";
import { blockTimeOf } from "../store/chain-store.ts";
import { freeAll } from "./gc.ts";
import type { Offering } from "./offering.ts";
import type { Runner } from "./runner.ts";

export interface AdminOptions {
  dataDir: string;
  rpc: Rpc;
  tools: JobTools;
  runner(): Runner | undefined;
  offering(): Offering | undefined;
  isReady(): boolean;
}

/** Lets this machine's owner look into the running node and ask things of it. Only its convenience depends on it. */
export async function serveAdmin(options: AdminOptions, own: Context): Promise<{ close(): Promise<void> }> {
  const { dataDir, tools, offering, runner } = options;
  const { self, database, journal, content, images } = tools;
  let freeing: ReturnType<typeof freeAll> | undefined;
  try {
    return await startAdminServer(dataDir, {
      live: () => liveStatus(options),
      gc() {
        const targets = {
          dataDir,
          runId: self.runId,
          journal,
          content,
          machine: () => tools.machine,
          blobs: images,
          now: () => blockTimeOf(database),
        };
        freeing ??= freeAll(targets, own).finally(() => {
          freeing = undefined;
        });
        return freeing;
      },
      look() {
        offering()?.poke();
        runner()?.poke();
      },
      revoke: () => revokeOffers(options, own),
    });
  } catch (error) {
    own.signal.throwIfAborted();
    const { message, hint } = error as { message: string; hint?: string };
    own.log.warn({ reason: message, hint }, "commands cannot ask this node; everything else works");
    return { close: async () => undefined };
  }
}

function liveStatus({ tools, runner, offering, isReady }: AdminOptions): LiveStatus {
  const offers = [offering()?.current() ?? []].flat();
  const none = offering()?.reason() ?? "The first offer is not signed yet.";
  const expiresAt = Math.max(...offers.map(({ offer }) => offer.expiresAt));
  const open = tools.journal.open();
  const fetched = open.flatMap(({ jobId, replica }) => {
    const bytes = tools.intake?.of({ jobId, replica }) ?? 0;
    return bytes === 0 ? [] : [{ jobId, replica, bytes }];
  });
  const troubles = open.flatMap(({ jobId, replica }) => {
    const message = runner()?.troubleOf(jobId, replica);
    return message === undefined ? [] : [{ jobId, replica, message }];
  });
  return { ready: isReady(), offer: offers.length === 0 ? { none } : { expiresAt }, troubles, fetched };
}

/** One transaction for each epoch, however often it is asked for. */
async function revokeOffers({ rpc, tools }: AdminOptions, { signal, log }: Context): Promise<void> {
  const { self, deployment, outbox } = tools;
  const { operator, index } = self;
  const { epoch } = await readRegistration(rpc, deployment, { operator, index });
  const key = `epoch:${epoch}`;
  const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "bumpEpoch", args: [operator, index] });
  await outbox.enqueue({ key, to: deployment.market, data });
  await outbox.wait(key, { until: "mined", signal });
  log.info({ epoch }, "offers revoked");
}
