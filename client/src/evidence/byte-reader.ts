import { MarketError } from "@berth/protocol";

/** Reads big-endian fields from the front of a buffer and refuses to run past its end. */
export interface ByteReader {
  /** An unsigned integer of 1, 2 or 4 bytes. Throws EVIDENCE_MALFORMED past the end, as all readers here do. */
  uint(bytes: 1 | 2 | 4): number;
  take(bytes: number): Uint8Array<ArrayBuffer>;
  /** A TPM2B: a 16-bit length and that many bytes, at most `maxBytes`. */
  sized(maxBytes: number): Uint8Array<ArrayBuffer>;
  /** Ends the reading. Throws EVIDENCE_MALFORMED when bytes are left. */
  end(): void;
}

/** @param what names the structure in error messages */
export function byteReader(source: Uint8Array, what: string): ByteReader {
  let offset = 0;
  const take = (bytes: number) => {
    if (offset + bytes > source.length) throw malformed(`${what} ends after ${source.length} bytes, too early.`);
    offset += bytes;
    return source.slice(offset - bytes, offset) as Uint8Array<ArrayBuffer>;
  };
  const uint = (bytes: 1 | 2 | 4) => take(bytes).reduce((value, byte) => value * 256 + byte, 0);
  return {
    uint,
    take,
    sized: (maxBytes) => {
      const bytes = uint(2);
      if (bytes > maxBytes) throw malformed(`A field of ${what} has ${bytes} bytes, more than ${maxBytes}.`);
      return take(bytes);
    },
    end: () => {
      if (offset !== source.length) throw malformed(`${what} is followed by ${source.length - offset} bytes.`);
    },
  };
}

/** Throws EVIDENCE_MALFORMED unless a field has the one value that is allowed. */
export function mustBe(what: string, value: number, expected: number): void {
  if (value !== expected) throw malformed(`${what} is 0x${value.toString(16)}, not 0x${expected.toString(16)}.`);
}

/** Bytes of a canonical base64 text (the schema has checked that it is one). */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

export function malformed(message: string): MarketError {
  return new MarketError("EVIDENCE_MALFORMED", message);
}
