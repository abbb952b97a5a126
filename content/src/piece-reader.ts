/** A stream that is taken in pieces of one's own choice. */
export interface PieceReader {
  /** The next bytes, at most `most`; undefined at the end. */
  some(most: number): Promise<Buffer | undefined>;
  /** Exactly `bytes`; undefined when the stream ended before the first. */
  take(bytes: number): Promise<Buffer | undefined>;
  skip(bytes: number): Promise<void>;
  /** The next `left.bytes`, which says how many are still to be read or skipped when nobody reads to the end. */
  content(left: { bytes: number }): AsyncGenerator<Uint8Array>;
  /** To the end of the stream, of which nothing is kept. */
  drain(): Promise<void>;
  /** Lets go of a stream that is left in the middle. */
  close(): Promise<void>;
}

/** Reads `stream` in pieces. What it throws when the stream ends within one, `cutShort` makes. */
export function readPieces(stream: AsyncIterable<Uint8Array>, cutShort: () => Error): PieceReader {
  const chunks = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  const some = async (most: number): Promise<Buffer | undefined> => {
    while (rest.length === 0) {
      const { done, value } = await chunks.next();
      if (done === true) return undefined;
      rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    const piece = rest.subarray(0, most);
    rest = rest.subarray(piece.length);
    return piece;
  };
  async function* content(left: { bytes: number }): AsyncGenerator<Uint8Array> {
    while (left.bytes > 0) {
      const piece = await some(left.bytes);
      if (piece === undefined) throw cutShort();
      left.bytes -= piece.length;
      yield piece;
    }
  }
  return {
    some,
    content,
    async take(bytes) {
      const pieces: Buffer[] = [];
      for (let left = bytes; left > 0; ) {
        const piece = await some(left);
        if (piece === undefined && left === bytes) return undefined;
        if (piece === undefined) throw cutShort();
        left -= piece.length;
        pieces.push(piece);
      }
      return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
    },
    async skip(bytes) {
      for await (const _ of content({ bytes }));
    },
    async drain() {
      while ((await some(Number.MAX_SAFE_INTEGER)) !== undefined);
    },
    async close() {
      await chunks.return?.();
    },
  };
}
