import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { addressSchema, bytes32Schema, MarketError } from "@berth/protocol";
import { z } from "zod";
import { ABOUT_ANYBODY } from "../../store/changes.ts";
import { projections } from "../../store/tables.ts";
import type { Listener, WireChange } from "../change-hub.ts";
import { route } from "../route.ts";

/** What may wait for one reader before it counts as too slow. */
const MAX_BACKLOG_BYTES = 256 * 1024;
/** How long a dropped reader has to take what is on its way. */
const GRACE_MS = 10_000;
/** How long a reader who catches up may take nothing. */
const STALLED_MS = 30_000;

const entities = [...Object.keys(projections), "offers", "requests", "reorg", "backfill"];
const seq = z
  .string()
  .regex(/^[0-9]{1,15}$/)
  .transform(Number);

export const streamEvents = route({
  method: "get",
  path: "/events",
  summary:
    "Server-sent events: every change of a row as it is indexed, without gaps. `id` goes on from where `Last-Event-ID` (or `after`) says; without it, from now.",
  query: z.strictObject({
    after: seq.optional().meta({ description: "For programs that cannot set `Last-Event-ID`" }),
    entity: z
      .string()
      .regex(/^[a-z]+(,[a-z]+)*$/)
      .max(200)
      .transform((list) => list.split(","))
      .pipe(z.array(z.enum(entities)))
      .optional()
      .meta({ description: `Only these, separated by commas: ${entities.join(", ")}` }),
    about: z.union([addressSchema, bytes32Schema]).optional().meta({
      description:
        "Only what names this account or job; `reorg`, `backfill` and rows that a reorganisation removed always come",
    }),
  }),
  headers: z.object({ "last-event-id": seq.optional() }),
  answerType: "text/event-stream",
  answer: z.string().meta({
    example: [
      'id: 41\nevent: jobs\ndata: {"block":{"number":12,"hash":"0x…"},"key":"0x…","row":{"jobId":"0x…","state":"posted"}}\n\n',
      'id: 42\nevent: offers\ndata: {"block":null,"key":"0x…","row":null}\n\n',
    ].join(""),
  }),
  problems: ["QUERY_INVALID", "EVENTS_GONE", "TOO_MANY_STREAMS"],
  async handle({ query: { after, entity, about }, headers, sender, response }, { changes, streams }) {
    const asked = headers["last-event-id"] ?? after;
    if (asked !== undefined && asked !== changes.newest) {
      const { first, last } = await changes.range();
      if (asked > last || asked + 1 < first) throw gone(asked);
    }
    const leave = streams.enter(sender);
    const { socket } = response;
    if (response.destroyed || socket === null) return leave();
    const wanted = entity === undefined ? undefined : new Set(entity);
    const isForAll = (change: WireChange) =>
      change.entity === "reorg" || change.entity === "backfill" || change.about === ABOUT_ANYBODY;
    const listener: Listener = {
      ...listenerOf(response, socket, streams.dropped),
      wants: (change) =>
        (wanted?.has(change.entity) ?? true) &&
        (about === undefined || isForAll(change) || change.about.split(" ").includes(about)),
    };
    // Without chunks every event is the same bytes for all, past everything that HTTP does for a body; the end of the
    // connection is the end of the stream.
    response.removeHeader("transfer-encoding");
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      connection: "close",
    });
    const from = asked ?? changes.newest;
    response.write(`retry: 1000\nid: ${from}\n\n`);
    const stop = changes.listen(listener, from);
    response.once("close", () => {
      stop();
      leave();
    });
  },
});

function listenerOf(response: ServerResponse, socket: Socket, onDropped: () => void): Omit<Listener, "wants"> {
  let over = false;
  const end = (code: string, detail: string) => {
    if (over) return;
    over = true;
    socket.end(`event: dropped\ndata: ${JSON.stringify({ code, detail })}\n\n`);
    setTimeout(() => response.destroy(), GRACE_MS).unref();
  };
  return {
    take(bytes) {
      if (over || socket.destroyed) return;
      if (socket.writableLength > MAX_BACKLOG_BYTES) {
        onDropped();
        end("READER_TOO_SLOW", "More than 256 KiB waited to be read. Come again with the last id that you have.");
        return;
      }
      socket.write(bytes);
    },
    waiting: () => socket.writableLength > 0,
    async drained() {
      if (over || socket.destroyed) return false;
      if (!socket.writableNeedDrain) return true;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, STALLED_MS).unref();
      socket.once("drain", resolve).once("close", resolve);
      await promise;
      clearTimeout(timer);
      socket.off("drain", resolve).off("close", resolve);
      if (!socket.destroyed && socket.writableNeedDrain) {
        onDropped();
        end("READER_TOO_SLOW", "Nothing was read for 30 s. Come again with the last id that you have.");
      }
      return !over && !socket.destroyed;
    },
    lost: (first) =>
      end("EVENTS_GONE", `Events before ${first} are no longer kept. Read the lists again, then come without an id.`),
  };
}

function gone(seq: number): MarketError {
  return new MarketError("EVENTS_GONE", `What came after event ${seq} is not kept here.`, {
    hint: "Read the lists again, then open the stream without an id.",
  });
}
