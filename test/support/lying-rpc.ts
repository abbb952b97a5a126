import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What a lying RPC does with one call: pass it on, answer something else, or fail the whole HTTP request. */
export type Lie =
  | { answer: unknown }
  | { error: { code: number; message: string; data?: unknown } }
  | "500"
  | "hang up";
export interface RpcMessage {
  id: number;
  method: string;
  params: unknown[];
}

export interface LyingRpc {
  url: string;
  /** Asked for every call; undefined passes it on unchanged. May look at the honest answer by calling `honest`. */
  lie: (message: RpcMessage, honest: () => Promise<unknown>) => Lie | undefined | Promise<Lie | undefined>;
  readonly calls: string[];
  stop(): Promise<void>;
}

/** A proxy before `target` on a free loopback port, honest until `lie` is set. */
export async function startLyingRpc(target: string): Promise<LyingRpc> {
  const calls: string[] = [];
  const proxy: LyingRpc = { url: "", lie: () => undefined, calls, stop };
  const server = createServer((request, response) => {
    handle(request, response).catch(() => request.socket.destroy());
  });
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const chunk of request) text += chunk;
    const parsed = JSON.parse(text) as RpcMessage | RpcMessage[];
    const answers: unknown[] = [];
    for (const message of Array.isArray(parsed) ? parsed : [parsed]) {
      calls.push(message.method);
      const forward = () => ask(target, message);
      const lie = await proxy.lie(message, async () => (await forward()).result);
      if (lie === "hang up") return void request.socket.destroy();
      if (lie === "500") return void response.writeHead(500).end("out of order");
      const head = { jsonrpc: "2.0", id: message.id };
      if (lie === undefined) answers.push(await forward());
      else if ("error" in lie) answers.push({ ...head, error: lie.error });
      else answers.push({ ...head, result: lie.answer });
    }
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(Array.isArray(parsed) ? answers : answers[0]));
  }
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return proxy;

  async function stop(): Promise<void> {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  }
}

async function ask(target: string, message: RpcMessage): Promise<{ result?: unknown }> {
  const body = JSON.stringify(message);
  const response = await fetch(target, { method: "POST", headers: { "content-type": "application/json" }, body });
  return (await response.json()) as { result?: unknown };
}
