import { connect } from "node:net";

/** One server-sent event. */
export interface StreamedEvent {
  id: number | undefined;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: asserted by the test
  data: any;
}

/** A reader of the change stream that keeps what it has read. */
export interface EventReader {
  readonly status: number;
  /** Of the last event or heartbeat. */
  readonly lastId: number | undefined;
  readonly events: StreamedEvent[];
  /** Waits for an event that `look` accepts, among those read already and those to come. */
  next(look: (event: StreamedEvent) => boolean): Promise<StreamedEvent>;
  /** Resolves when the server has ended the stream. */
  ended: Promise<void>;
  close(): void;
}

export async function openEvents(url: string, { lastEventId }: { lastEventId?: number } = {}): Promise<EventReader> {
  const stop = new AbortController();
  const headers = lastEventId === undefined ? {} : { "last-event-id": String(lastEventId) };
  const response = await fetch(url, { headers, signal: stop.signal });
  const events: StreamedEvent[] = [];
  let waiting: (() => void)[] = [];
  let lastId: number | undefined;
  let over = false;
  const ended = read().finally(() => {
    over = true;
    wakeAll();
  });
  ended.catch(() => {});

  return {
    status: response.status,
    get lastId() {
      return lastId;
    },
    events,
    async next(look) {
      for (;;) {
        const found = events.find(look);
        if (found !== undefined) return found;
        if (over) throw new Error("the stream ended before the event came");
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
    ended,
    close: () => stop.abort(),
  };

  async function read(): Promise<void> {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) take(Object.fromEntries(block.split("\n").map(splitLine)));
      wakeAll();
    }
  }

  function take({ id, event, data }: Record<string, string>): void {
    if (id !== undefined) lastId = Number(id);
    if (data === undefined) return;
    events.push({ id: id === undefined ? undefined : Number(id), event: event ?? "message", data: JSON.parse(data) });
  }

  function wakeAll(): void {
    const those = waiting;
    waiting = [];
    for (const resolve of those) resolve();
  }
}

/** A reader that asks and then reads nothing until it is told to. */
export async function openStalled(url: string): Promise<{ text(): Promise<string> }> {
  const { hostname, port, pathname, search } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.pause();
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  socket.write(`GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
  return {
    async text() {
      const chunks: Buffer[] = [];
      for await (const chunk of socket) chunks.push(chunk);
      return Buffer.concat(chunks).toString();
    },
  };
}

function splitLine(line: string): [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
}
