import type { EventEmitter } from "node:events";
import { isIPv6, type Socket } from "node:net";

/**
 * Cuts what one address of the network opens beyond `max` connections at a time, so that nobody takes all of a server's.
 * This machine's own are not counted: a proxy may stand before the server.
 */
export function limitConnections(server: EventEmitter, max: number): void {
  const held = new Map<string, number>();
  server.on("connection", (socket: Socket) => {
    const who = householdOf(socket.remoteAddress ?? "");
    const others = held.get(who) ?? 0;
    if (who === "") return;
    if (others >= max) return void socket.destroy();
    held.set(who, others + 1);
    socket.once("close", () => {
      const left = (held.get(who) ?? 1) - 1;
      if (left > 0) held.set(who, left);
      else held.delete(who);
    });
  });
}

/** What one client can be expected to have: an IPv4 address, or an IPv6 network of 64 bits. Nothing for this machine itself. */
function householdOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (plain === "::1" || plain.startsWith("127.")) return "";
  if (!isIPv6(plain)) return plain;
  const [head = [], tail = []] = plain.split("::").map((part) => part.split(":").filter((group) => group !== ""));
  const groups = [...head, ...Array<string>(8 - head.length - tail.length).fill("0"), ...tail];
  return groups.slice(0, 4).join(":");
}
