import { request } from "node:http";
import { type ErrorJson, MarketError } from "@berth/protocol";
import type { z } from "zod";
import { adminSocketOf } from "./admin.ts";

/**
 * Asks the running node. Undefined when none listens in this data folder.
 * Throws what the node answered with, NODE_NOT_ANSWERING.
 */
export async function askNode<T>(
  dataDir: string,
  { method, path, schema }: { method: "GET" | "POST"; path: string; schema: z.ZodType<T> },
  { signal }: { signal: AbortSignal },
): Promise<T | undefined> {
  let text: string;
  let status: number;
  try {
    ({ text, status } = await exchange({ socketPath: adminSocketOf(dataDir), method, path, signal }));
  } catch (cause) {
    signal.throwIfAborted();
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ENAMETOOLONG" || code === "EINVAL") return undefined;
    if (code === "EACCES") {
      throw new MarketError("NODE_NOT_YOURS", `The node in ${dataDir} belongs to another user.`, {
        hint: "Run this command as the user that runs the node.",
        cause,
      });
    }
    throw new MarketError("NODE_NOT_ANSWERING", `The node in ${dataDir} broke off its answer.`, {
      hint: "Its log says why; ask again when it runs.",
      retryable: true,
      cause,
    });
  }
  const body: unknown = JSON.parse(text);
  if (status === 200) return schema.parse(body);
  const { code, message, hint, retryable } = (body as { error: ErrorJson }).error;
  throw new MarketError(code, message, { retryable, ...(hint !== undefined && { hint }) });
}

function exchange(options: {
  socketPath: string;
  method: string;
  path: string;
  signal: AbortSignal;
}): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }));
    });
    asked.on("error", reject);
    asked.end();
  });
}
