import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Address, type JobId, type LogsEnd, parseLogAccess } from "@berth/protocol";
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { followLogs } from "../../../client/src/actions/follow-logs.ts";
import type { Client } from "../../../client/src/client.ts";
import { walletFromPrivateKey } from "../../../client/src/wallet.ts";

const key = generatePrivateKey();
const account = privateKeyToAccount(key);
const END = {
  attempt: 0,
  phase: "publishing",
  outcome: "exited",
  exitCode: 0,
  message: "",
  bytes: 6,
  truncated: false,
};

/** Plays the node: one function for each connection. */
type Answer = (response: ServerResponse, request: IncomingMessage) => void;

describe("followLogs", () => {
  let server: Server;
  let answers: Answer[];
  let asked: IncomingMessage[];
  beforeEach(async () => {
    [answers, asked] = [[], []];
    server = createServer((request, response) => {
      asked.push(request);
      answers.shift()?.(response, request);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterEach(() => {
    server.close();
    server.closeAllConnections();
  });

  const stream = (response: ServerResponse, ...events: string[]) =>
    response.writeHead(200, { "content-type": "text/event-stream" }).end(events.join(""));
  const log = (attempt: number, from: number, text: string) => {
    const data = JSON.stringify({ attempt, from, bytes: Buffer.from(text).toString("base64") });
    return `event: log\nid: ${attempt}-${from + text.length}\ndata: ${data}\n\n`;
  };
  const end = (changes: object = {}) => `event: end\ndata: ${JSON.stringify({ ...END, ...changes })}\n\n`;
  const refuse =
    (status: number, code: string): Answer =>
    (response) =>
      response.writeHead(status).end(JSON.stringify({ code, detail: "No\u001b[2J.", hint: null }));

  async function follow(...given: Answer[]): Promise<{ text: string; again: number[]; end: LogsEnd }> {
    answers.push(...given);
    const chainNow = { timestamp: 0n };
    const rpc = { chainId: 31337, client: { getBlock: async () => chainNow }, request: async () => undefined };
    const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` };
    const client = { rpc, domain, wallet: walletFromPrivateKey(key)(rpc as never) } as unknown as Client;
    const { port } = server.address() as AddressInfo;
    const operator: Address = `0x${"0b".repeat(20)}`;
    const place = {
      jobId: `0x${"a".repeat(64)}` as JobId,
      replica: 2,
      operator,
      index: 1,
      contentUrl: `http://127.0.0.1:${port}/n`,
    };
    const pieces: Uint8Array[] = [];
    const again: number[] = [];
    const options = { stream: "stdout", follow: true, onBytes: (bytes: Uint8Array) => pieces.push(bytes) } as const;
    const onAgain = (attempt: number) => again.push(attempt);
    const ended = await followLogs(client, place, { ...options, onAgain });
    return { text: Buffer.concat(pieces).toString(), again, end: ended };
  }
  const codeOf = async (...given: Answer[]) =>
    await follow(...given).then(
      () => "none",
      (error: { code: string }) => error.code,
    );

  it("signs for one replica at one node, for minutes", async () => {
    const { text, end: ended } = await follow((response) =>
      stream(response, ": alive\n\n", log(0, 0, "abc\u00e4"), end()),
    );
    expect(text).to.equal("abc\u00e4");
    expect(ended).to.deep.equal(END);
    const access = parseLogAccess(asked[0]?.headers.authorization ?? "");
    expect(access).to.deep.include({ account: account.address.toLowerCase(), replica: 2, index: 1 });
    expect(access.expiresAt - Date.now() / 1000).to.be.within(200, 301);
    expect(asked[0]?.url).to.equal(`/n/jobs/0x${"a".repeat(64)}/2/logs?stream=stdout&follow=1`);
  });

  it("goes on where a connection broke, and begins anew with a new attempt", async () => {
    const { text, again } = await follow(
      (response) => stream(response, log(0, 0, "abc")),
      (response) => response.destroy(),
      (response) => stream(response, log(0, 3, "def"), log(1, 0, "again"), end({ attempt: 1 })),
    );
    expect(text).to.equal("abcdefagain");
    expect(again).to.deep.equal([1]);
    expect(asked.map(({ headers }) => headers["last-event-id"])).to.deep.equal([undefined, "0-3", "0-3"]);
  });

  it("signs anew when its signature is no longer good, and waits where the node is busy", async () => {
    const { text } = await follow(refuse(401, "LOG_ACCESS_EXPIRED"), refuse(429, "LOG_STREAMS_BUSY"), (response) =>
      stream(response, log(0, 0, "abc"), end()),
    );
    expect(text).to.equal("abc");
  });

  it("waits for a node that has not heard of its match yet", async () => {
    const { text } = await follow(refuse(404, "JOB_UNKNOWN"), (response) => stream(response, log(0, 0, "abc"), end()));
    expect(text).to.equal("abc");
  });

  it("believes no node that refuses, skips, floods, redirects or babbles", async () => {
    expect(await codeOf(refuse(403, "LOG_ACCESS_DENIED"))).to.equal("LOGS_REFUSED");
    expect(await codeOf((response) => stream(response, log(0, 5, "abc")))).to.equal("LOGS_INVALID");
    expect(await codeOf((response) => stream(response, "event: log\ndata: {}\n\n"))).to.equal("LOGS_INVALID");
    expect(await codeOf((response) => stream(response, `data: ${"x".repeat(2 ** 20)}`))).to.equal("LOGS_INVALID");
    const flood = Array.from({ length: 9 }, (_, i) => log(0, i * 500_000, "x".repeat(500_000)));
    expect(await codeOf((response) => stream(response, ...flood))).to.equal("LOGS_INVALID");
    let elsewhere = 0;
    await follow(
      (response) => response.writeHead(302, { location: "/elsewhere" }).end(),
      (response, { url }) => {
        if (url === "/elsewhere") elsewhere += 1;
        stream(response, end());
      },
    );
    expect(elsewhere).to.equal(0);
  });

  it("shows what a node says without its control characters", async () => {
    const error = await follow(refuse(403, "LOG_ACCESS_DENIED")).catch((thrown: Error) => thrown);
    expect((error as Error).message).to.equal("The node refused: No\\x1b[2J.");
  });
});
