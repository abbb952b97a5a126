import { randomUUID } from "node:crypto";
import { isIPv6 } from "node:net";
import { listen, readText } from "@berth/content";
import { MarketError, shownUrl } from "@berth/protocol";
import { z } from "zod";
import { type Check, passed } from "../core/check.ts";
import type { Context } from "../log.ts";

export interface ReachOptions {
  host: string;
  port: number;
  /** How others reach it; undefined: not set. */
  publicUrl?: string | undefined;
}

const NAME = "public address";
const ANSWER_MS = 5000;
const MAX_BYTES = 1024;
const healthSchema = z.object({ instance: z.string() });

/**
 * Does the address that the node publishes lead to this machine? Asked of the node where it runs, and else of a server
 * that listens in its place. A warning at most, for others may get there where this machine does not.
 */
export async function reachCheck({ host, port, publicUrl }: ReachOptions, { signal }: Context): Promise<Check> {
  const local = `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
  if (publicUrl === undefined) return passed(NAME, `http.publicUrl is not set: results are at ${local}`);
  const shown = shownUrl(publicUrl);
  const own = randomUUID();
  const server = await listen((_, response) => void response.end(JSON.stringify({ instance: own })), {
    ...{ host, port, who: "The doctor" },
    hints: { port: "", host: "" },
  }).catch((error: unknown) => {
    if (error instanceof MarketError && error.code === "PORT_TAKEN") return undefined; // by the node, it seems
    throw error;
  });
  try {
    const here =
      server === undefined
        ? await instanceAt(local.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]"), signal)
        : own;
    if (here === undefined)
      return warning(`Another program has port ${port} on ${host}.`, "Stop it, or set http.port.");
    const there = await instanceAt(publicUrl, signal);
    if (there === here) return passed(NAME, `${shown} leads to this machine`);
    const detail =
      there === undefined ? `Nothing answers for this node at ${shown}.` : `${shown} leads to another node.`;
    return warning(
      detail,
      `Let http.publicUrl lead to port ${port} of this machine: DNS, port forwarding, firewall, proxy. If others do get there, let this machine too (hairpin NAT, or a line in /etc/hosts): a result that the node cannot read back goes on chain only when its time is almost over.`,
    );
  } finally {
    await server?.close();
  }
}

function warning(detail: string, fix: string): Check {
  return { name: NAME, status: "warn", detail, fix, without: "results that others can fetch" };
}

/** Which server answers at `base`; undefined when none does that is a node. */
async function instanceAt(base: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const response = await fetch(new URL("health", base.endsWith("/") ? base : `${base}/`), {
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    return healthSchema.parse(JSON.parse(await readText(response, MAX_BYTES))).instance;
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}
