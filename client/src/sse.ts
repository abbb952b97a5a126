import { MarketError } from "@berth/protocol";

/** One server-sent event. */
export interface ServerEvent {
  event: string;
  data: string;
}

/** A node sends pieces of 64 KiB. */
const MAX_EVENT_CHARS = 1024 * 1024;

/** Reads `text/event-stream`. `onChunk` hears of every sign of life, comments included. Throws LOGS_INVALID. */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  onChunk: () => void = () => {},
): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    onChunk();
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const found = parseEvent(text.slice(0, end));
      text = text.slice(end + 2);
      if (found !== undefined) yield found;
    }
    if (text.length > MAX_EVENT_CHARS) {
      throw new MarketError("LOGS_INVALID", "The node sent an event that is too large.");
    }
  }
}

function parseEvent(block: string): ServerEvent | undefined {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const [, name, value = ""] = /^([a-z]+): ?(.*)$/s.exec(line) ?? [];
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  return data.length === 0 ? undefined : { event, data: data.join("\n") };
}
