import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestToCid, type JobId } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { type HookConfig, hookSchema } from "../../../provider-node/src/config/hook.ts";
import { askHook } from "../../../provider-node/src/policy/ask-hook.ts";
import { questionOf } from "../../../provider-node/src/policy/question.ts";
import { endlessServer } from "../../support/endless-server.ts";
import { aRequest } from "../../support/orders.ts";

const context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };
const jobId = `0x${"6".repeat(64)}` as JobId;
const question = (what: "posted" | "match") => questionOf(aRequest(), { what, jobId, price: 77n, spec: null });
const shell = (script: string, change: object = {}): HookConfig =>
  hookSchema.parse({ exec: ["/bin/sh", "-c", script], deadlineMs: 10_000, ...change });

describe("askHook, a program", () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-hook-"));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  it("is told of the job on stdin, and takes it by exit code 0", async () => {
    const file = join(dir, "asked");
    expect(await askHook(shell(`cat > ${file}`), question("posted"), context)).to.deep.equal({ take: true });
    expect(JSON.parse(readFileSync(file, "utf8"))).to.deep.equal({
      ...{ version: 1, what: "posted", jobId, requester: aRequest().requester, payer: aRequest().payer },
      resources: { cpuMilli: 1000, memoryMiB: 512, diskMiB: 128, gpus: 0 },
      ...{ maxSeconds: 60, price: { token: aRequest().token, amount: "77" }, bond: "1000" },
      ...{ specHash: aRequest().specHash, specCid: digestToCid(aRequest().specHash), spec: null },
    });
  });

  it("refuses by exit code 1, with the first line that it prints", async () => {
    const answer = await askHook(shell("printf 'too \\033large\\nreally\\n'; exit 1"), question("match"), context);
    const reason = {
      code: "hook-refused",
      text: "The operator's hook refused it: too  large",
      values: { said: "too  large" },
    };
    expect(answer).to.deep.equal({ take: false, isFinal: true, reason });
  });

  for (const [why, script, change] of [
    ["another exit code", "exit 2", {}],
    ["a signal", "kill -9 $$", {}],
    ["no end in time", "exec sleep 60", { deadlineMs: 50 }],
    ["endless talk", "exec yes", {}],
  ] as const)
    it(`takes ${why} for no answer: matches are taken, posted requests are not, unless said otherwise`, async () => {
      const hook = shell(script, change);
      expect(await askHook(hook, question("match"), context)).to.deep.equal({ take: true });
      const answer = await askHook(hook, question("posted"), context);
      expect(answer).to.deep.include({ take: false, isFinal: false });
      expect(answer.take ? "" : answer.reason.code).to.equal("hook-failed");
      const other = { ...hook, onFailure: "take" as const };
      expect((await askHook(other, question("posted"), context)).take).to.equal(true);
      expect((await askHook({ ...hook, onFailure: "refuse" }, question("match"), context)).take).to.equal(false);
    });

  it("may be a program that is not there", async () => {
    const answer = await askHook(hookSchema.parse({ exec: ["/no/such"] }), question("posted"), context);
    expect(answer.take ? "" : answer.reason.text).to.match(/gave no answer: .*no\/such/);
  });
});

describe("askHook, a server", () => {
  let server: Server;
  let answer: { status: number; body: string };
  let asked: unknown;
  before(async () => {
    server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      asked = JSON.parse(Buffer.concat(chunks).toString());
      if (answer.status !== 0) response.writeHead(answer.status, { location: "/other" }).end(answer.body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  const ask = async (status: number, body: string, change: object = {}) => {
    answer = { status, body };
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    return await askHook(hookSchema.parse({ url, ...change }), question("posted"), context);
  };

  it("is told of the job in a POST, and takes or refuses it", async () => {
    expect(await ask(200, '{"take": true}')).to.deep.equal({ take: true });
    expect(asked).to.deep.include({ jobId, what: "posted" });
    const refused = await ask(200, '{"take": false, "reason": "no mining"}');
    expect(refused.take ? "" : refused.reason.text).to.equal("The operator's hook refused it: no mining");
    const silent = await ask(200, '{"take": false}');
    expect(silent.take ? "" : silent.reason.text).to.equal("The operator's hook refused it.");
  });

  for (const [why, status, body, change] of [
    ["an error", 500, '{"take": true}', {}],
    ["a redirect", 302, "", {}],
    ["what is not JSON", 200, "yes", {}],
    ["another answer", 200, '{"take": "yes"}', {}],
    ["silence", 0, "", { deadlineMs: 50 }],
  ] as const)
    it(`takes ${why} for no answer`, async () => {
      const answered = await ask(status, body, change);
      expect(answered.take ? "" : answered.reason.code).to.equal("hook-failed");
    });

  it("is hung up on when it talks without end", async () => {
    await using endless = await endlessServer();
    const hook = hookSchema.parse({ url: endless.url, deadlineMs: 60_000 });
    const answered = await askHook(hook, question("posted"), context);
    expect(answered.take ? "" : answered.reason.text).to.match(/sent more than/);
    await endless.hungUp;
  });

  it("is not named with the secrets in its address", async () => {
    answer = { status: 500, body: "" };
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?token=hidden`;
    const answered = await askHook(hookSchema.parse({ url }), question("posted"), context);
    expect(answered.take ? "" : answered.reason.text).to.match(/127\.0\.0\.1:\d+\/… answered 500$/);
  });

  it("may be a program whose arguments are not shown", async () => {
    const hook = hookSchema.parse({ exec: ["/no/such", "--token=hidden"] });
    const answered = await askHook(hook, question("posted"), context);
    expect(answered.take ? "" : JSON.stringify(answered.reason))
      .to.match(/no\/such/)
      .and.not.contain("hidden");
  });
});
