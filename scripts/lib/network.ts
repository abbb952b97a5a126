import { connect, createServer, type Server, type Socket } from "node:net";
import { MarketError } from "@berth/protocol";
import { execa } from "execa";
import type { RunLedger } from "./run-ledger.ts";

/** One host of its own on this machine: a network namespace with an address on the run's bridge. */
export interface Host {
  namespace: string;
  address: string;
}

/** The private network of one run. */
export interface RunNetwork {
  /** Address of this machine's side, for servers that the hosts must reach. Nobody outside the run reaches it. */
  gateway: string;
  addHost(number: number): Promise<Host>;
}

/**
 * Makes the run's bridge. Its subnet is a /24 of 10.0.0.0/8 that no interface uses yet. Packets to the gateway from
 * anywhere but the bridge and this machine itself are dropped, and nothing is forwarded in or out.
 */
export async function createNetwork(ledger: RunLedger): Promise<RunNetwork> {
  const bridge = `brt${ledger.id}`;
  const subnet = await freeSubnet(ledger.id);
  const gateway = `${subnet}.1`;
  ledger.record({ kind: "link", name: bridge });
  await ip("link", "add", bridge, "type", "bridge");
  await ip("addr", "add", `${gateway}/24`, "dev", bridge);
  await ip("link", "set", bridge, "up");
  await closeToOthers(ledger, bridge, gateway);
  return { gateway, addHost: (number) => addHost(ledger, { bridge, subnet, number }) };
}

async function addHost(ledger: RunLedger, at: { bridge: string; subnet: string; number: number }): Promise<Host> {
  const namespace = `berth-${ledger.id}-${at.number}`;
  const outside = `bv${ledger.id}${at.number}`;
  const address = `${at.subnet}.${10 + at.number}`;
  ledger.record({ kind: "namespace", name: namespace });
  await ip("netns", "add", namespace);
  ledger.record({ kind: "link", name: outside });
  await ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", namespace);
  await ip("link", "set", outside, "master", at.bridge, "up");
  await ip("-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
  await ip("-n", namespace, "link", "set", "eth0", "up");
  await ip("-n", namespace, "link", "set", "lo", "up");
  return { namespace, address };
}

async function closeToOthers(ledger: RunLedger, bridge: string, gateway: string): Promise<void> {
  const name = `berth_${ledger.id}`;
  ledger.record({ kind: "nft-table", name });
  await execa("nft", ["-f", "-"], {
    input: `table inet ${name} {
  chain input { type filter hook input priority -10; ip daddr ${gateway} iifname != { "${bridge}", "lo" } drop; }
  chain outward { type filter hook forward priority -10;
    iifname "${bridge}" oifname != "${bridge}" drop
    oifname "${bridge}" iifname != "${bridge}" drop
  }
}`,
  });
}

async function freeSubnet(id: string): Promise<string> {
  const { stdout } = await execa("ip", ["-4", "-o", "addr"]);
  const start = Number.parseInt(id.slice(0, 4), 16);
  for (let step = 0; step < 65_536; step++) {
    const at = (start + step) % 65_536;
    const subnet = `10.${at >> 8}.${at & 255}`;
    if (!stdout.includes(` ${subnet}.`)) return subnet;
  }
  throw new MarketError("NO_FREE_SUBNET", "Every /24 of 10.0.0.0/8 is in use on this machine.");
}

async function ip(...args: string[]): Promise<void> {
  try {
    await execa("ip", args);
  } catch (cause) {
    throw new MarketError("NETWORK_SETUP_FAILED", `\`ip ${args.join(" ")}\` failed.`, {
      hint: "Network namespaces need root (CAP_NET_ADMIN and CAP_SYS_ADMIN).",
      cause,
    });
  }
}

/** Finds out early whether a program could listen on 127.0.0.1:`port`. Throws PORT_TAKEN, which names `flag`. */
export async function assertPortFree(port: number, flag: string): Promise<void> {
  const probe = createServer();
  try {
    await new Promise<void>((ready, failed) => probe.once("error", failed).listen(port, "127.0.0.1", ready));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE") throw cause;
    throw new MarketError("PORT_TAKEN", `Port ${port} on 127.0.0.1 is taken by another program.`, {
      hint: `Stop that program, choose another port with ${flag}, or 0 for any free one.`,
      cause,
    });
  }
  await new Promise((closed) => probe.close(closed));
}

/** Listens on `host` and pipes every connection to 127.0.0.1:`targetPort`. */
export async function forwardTcp(host: string, targetPort: number): Promise<{ port: number; close(): Promise<void> }> {
  const open = new Set<Socket>();
  const server: Server = createServer((inbound) => {
    const outbound = connect(targetPort, "127.0.0.1");
    for (const socket of [inbound, outbound]) open.add(socket.once("close", () => open.delete(socket)));
    inbound.pipe(outbound).pipe(inbound);
    inbound.on("error", () => outbound.destroy());
    outbound.on("error", () => inbound.destroy());
  });
  await new Promise<void>((ready, failed) => server.once("error", failed).listen(0, host, ready));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has a port");
  return {
    port: address.port,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        for (const socket of open) socket.destroy(); // a connection kept alive would hold up the end for ever
      }),
  };
}
