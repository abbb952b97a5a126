import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  eventDigest,
  type Hex,
  imageEvent,
  MAX_EVENTS,
  MarketError,
  type MeasuredEvent,
  measuredEventSchema,
  replayEventLog,
} from "@berth/protocol";
import type { Logger } from "pino";
import { bytesToHex, zeroHash } from "viem";
import { z } from "zod";
import { readIfThere, writeDurably } from "./durable-file.ts";
import type { Tpm2Config } from "./tpm2-config.ts";
import { type TpmTools, withScratch } from "./tpm2-tools.ts";

const fileSchema = z.strictObject({ version: z.literal(1), events: z.array(measuredEventSchema).max(MAX_EVENTS) });

/**
 * Makes sure that `imageDigest` is among the images measured since the TPM's last reset, and gives the log of them all.
 * An image is measured once per reset however many jobs run it, so the log stays short.
 *
 * The log is written before the register is extended: after a crash in between, the register lacks exactly the last
 * event, which is then dropped. Must not run twice at once. Throws TPM_LOG_DIVERGED and TPM_LOG_FULL.
 */
export async function measureImage(
  tools: TpmTools,
  config: Tpm2Config,
  imageDigest: Hex,
  log: Logger,
): Promise<MeasuredEvent[]> {
  const events = reconcile(await readLog(config), await readRegister(tools, config.pcr), config.pcr, log);
  const event = imageEvent(imageDigest);
  if (events.some((entry) => entry.event === event)) return events;
  if (events.length >= MAX_EVENTS)
    throw new MarketError("TPM_LOG_FULL", `${MAX_EVENTS} images were measured since the TPM's last reset.`, {
      hint: "Drain the node and reboot the machine: that starts a new log.",
    });
  const digest = eventDigest(event);
  const longer = [...events, { pcr: config.pcr, event, digest }];
  await writeDurably(logPath(config), `${JSON.stringify({ version: 1, events: longer }, null, 1)}\n`);
  await tools.run("pcrextend", [`${config.pcr}:sha256=${digest.slice(2)}`]);
  log.info({ pcr: config.pcr, imageDigest, events: longer.length }, "image measured");
  return longer;
}

/** The log as far as the register confirms it. Pure but for the log lines; exported for its tests. */
function reconcile(events: MeasuredEvent[], register: Hex, pcr: number, log: Logger): MeasuredEvent[] {
  if (events.every((entry) => entry.pcr === pcr)) {
    if (replayEventLog(events, pcr) === register) return events;
    const confirmed = events.slice(0, -1);
    if (register !== zeroHash && replayEventLog(confirmed, pcr) === register) {
      log.warn({ pcr, dropped: events.at(-1)?.event }, "last event was logged but never measured");
      return confirmed;
    }
  }
  if (register === zeroHash) {
    log.info({ pcr, forgotten: events.length }, "TPM was reset; event log started anew");
    return [];
  }
  throw new MarketError("TPM_LOG_DIVERGED", `Register ${pcr} holds measurements that are not in this node's log.`, {
    hint: "Something else uses the register, or the log was lost: choose another `pcr`, or reboot the machine.",
  });
}

/** The value of one register of the sha256 bank. */
async function readRegister(tools: TpmTools, pcr: number): Promise<Hex> {
  return withScratch(async (path) => {
    await tools.run("pcrread", [`sha256:${pcr}`, "-o", path("pcr")]);
    const value = await readFile(path("pcr"));
    if (value.length !== 32)
      throw new MarketError("TPM_NO_SHA256_BANK", "The TPM keeps no sha256 registers.", {
        hint: "Switch the bank on in the firmware set-up or with `tpm2_pcrallocate sha256:all`.",
      });
    return bytesToHex(value);
  });
}

async function readLog(config: Tpm2Config): Promise<MeasuredEvent[]> {
  const text = await readIfThere(logPath(config));
  if (text === undefined) return [];
  try {
    return fileSchema.parse(JSON.parse(text.toString("utf8"))).events;
  } catch (cause) {
    throw new MarketError("TPM_LOG_UNREADABLE", `The event log ${logPath(config)} is damaged.`, {
      hint: "Restore it, or remove it and reboot the machine so that register and log start anew together.",
      cause,
    });
  }
}

function logPath({ stateDir }: Tpm2Config): string {
  return join(stateDir, "event-log.json");
}
