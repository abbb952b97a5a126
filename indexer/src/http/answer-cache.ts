import type { ChangeHub } from "./change-hub.ts";
import type { TableAnswer } from "./route.ts";

/** An answer as it goes over the wire, marked with what it was made from. */
export interface Kept {
  etag: string;
  body: Buffer;
}

/** Keeps answers that are made of tables until something changes there. */
export interface AnswerCache {
  /** The answer to `url`, kept or made; whoever asks the same meanwhile gets the same answer. */
  answer(url: string, make: () => Promise<TableAnswer>): Promise<Kept>;
  /** The mark of the answer to `url`, if it is certain that nothing changed since the newest one that is known. */
  etag(url: string): string | undefined;
}

const MAX_BYTES = 32 * 1024 * 1024;
/** Nobody needs a longer one, and anybody can make up different ones that ask the same. */
const MAX_URL = 2048;
/** What keeping an answer costs beside its body and its question, roughly. */
const ENTRY_BYTES = 256;

export function createAnswerCache(
  changes: Pick<ChangeHub, "settled" | "newest">,
  { maxBytes = MAX_BYTES }: { maxBytes?: number } = {},
): AnswerCache {
  /** What all that is kept was made from. */
  let seq = -1;
  let home: string | undefined;
  let bytes = 0;
  /** Least recently asked for first. */
  const kept = new Map<string, Kept>();
  const coming = new Map<string, Promise<Kept>>();

  return {
    async answer(url, make) {
      if (!changes.settled) return encode(url, await make());
      if (changes.newest !== seq) forget(changes.newest);
      const known = kept.get(url);
      if (known === undefined) return coming.get(url) ?? made(url, make);
      kept.delete(url);
      kept.set(url, known);
      return known;
    },
    etag: (url) => (changes.settled && home !== undefined ? etagOf(url, home, String(changes.newest)) : undefined),
  };

  function made(url: string, make: () => Promise<TableAnswer>): Promise<Kept> {
    const askedAt = seq;
    const answer = make().then((answered) => {
      const encoded = encode(url, answered);
      const { snapshot, view } = answered;
      // Of an earlier block: that block may be another one soon, without any change in the tables.
      if (view.height === undefined && snapshot.seq === seq) keep(url, encoded);
      return encoded;
    });
    coming.set(url, answer);
    const done = () => {
      if (askedAt === seq) coming.delete(url);
    };
    answer.then(done, done);
    return answer;
  }

  function encode(url: string, { json, snapshot, view }: TableAnswer): Kept {
    home = snapshot.home;
    const version = view.height === undefined ? String(snapshot.seq) : `${snapshot.seq}.${view.height}`;
    return { etag: etagOf(url, home, version), body: Buffer.from(json) };
  }

  function keep(url: string, answer: Kept): void {
    if (url.length > MAX_URL) return;
    kept.set(url, answer);
    bytes += sizeOf(url, answer);
    for (const [oldest, gone] of kept) {
      if (bytes <= maxBytes) return;
      kept.delete(oldest);
      bytes -= sizeOf(oldest, gone);
    }
  }

  function forget(newest: number): void {
    seq = newest;
    bytes = 0;
    kept.clear();
    coming.clear();
  }
}

function sizeOf(url: string, { body }: Kept): number {
  return body.length + 2 * url.length + ENTRY_BYTES;
}

/** Whoever has a mark has it from the answer to that very question. */
function etagOf(url: string, home: string, version: string): string {
  return `W/"${home}-${version}-${hashOf(url).toString(16)}"`;
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
