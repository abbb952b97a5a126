import type { FollowedBlock } from "@berth/chain";

/** Where `encodeLogs` goes. COPY reads bytes twice as fast as digits, and logs are most of what is written. */
export const LOG_ROWS =
  "BINARY logs (block_number, log_index, block_hash, timestamp, transaction_hash, transaction_index, address, topics, data)";

const HEADER = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
const COLUMNS = 9;
/** Of one row, beside its topics and its data: how many columns, the length of each, four numbers and three hashes. */
const ROW_BYTES = 2 + COLUMNS * 4 + 4 * 8 + 32 + 32 + 20;
const TOPIC_BYTES = 32;

/** The logs of `blocks` as rows in the binary form of COPY; undefined when there are none. */
export function encodeLogs(blocks: readonly FollowedBlock[]): Buffer<ArrayBuffer> | undefined {
  let size = 0;
  for (const { logs } of blocks) {
    for (const { topics, data } of logs) size += ROW_BYTES + topics.length * TOPIC_BYTES + bytesOf(data);
  }
  if (size === 0) return undefined;
  const out = Buffer.allocUnsafe(HEADER.length + size + 2);
  let at = HEADER.copy(out);
  const number = (value: number) => {
    at = out.writeInt32BE(8, at);
    at = out.writeInt32BE(Math.floor(value / 2 ** 32), at);
    at = out.writeUInt32BE(value % 2 ** 32, at);
  };
  const digits = (value: string) => {
    at += out.write(value.slice(2), at, "hex");
  };
  const bytes = (value: string) => {
    at = out.writeInt32BE(bytesOf(value), at);
    digits(value);
  };
  for (const { number: block, timestamp, logs } of blocks) {
    for (const { logIndex, blockHash, transactionHash, transactionIndex, address, topics, data } of logs) {
      at = out.writeInt16BE(COLUMNS, at);
      number(block);
      number(logIndex);
      bytes(blockHash);
      number(timestamp);
      bytes(transactionHash);
      number(transactionIndex);
      bytes(address);
      at = out.writeInt32BE(topics.length * TOPIC_BYTES, at);
      for (const topic of topics) digits(topic);
      bytes(data);
    }
  }
  out.writeInt16BE(-1, at);
  return out;
}

function bytesOf(hex: string): number {
  return hex.length / 2 - 1;
}
