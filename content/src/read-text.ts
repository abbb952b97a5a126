import { readBody } from "./follow.ts";

/** All of what a server answered, as text; the connection ends with the first byte after `maxBytes`. Throws SOURCE_ANSWERED. */
export async function readText({ body }: Pick<Response, "body">, maxBytes: number): Promise<string> {
  const bytes = await readBody({ body: (body ?? []) as AsyncIterable<Uint8Array> }, maxBytes);
  return Buffer.from(bytes).toString("utf8");
}
