import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Rpc } from "@berth/chain";
import { expect } from "chai";
import pino from "pino";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { loadConfig } from "../../../provider-node/src/config.ts";
import { type OfferingOptions, startOffering } from "../../../provider-node/src/jobs/offering.ts";
import { readOffering } from "../../../provider-node/src/store/offering-state.ts";
import { type Database, openDatabase } from "../../../provider-node/src/store/open.ts";
import { endlessServer } from "../../support/endless-server.ts";

const [token, operator, market] = ["a", "b", "c"].map((digit) => `0x${digit.repeat(40)}` as const);

describe("startOffering", () => {
  let dir: string;
  let database: Database;
  let stop: AbortController;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-offering-"));
    database = openDatabase(":memory:");
    stop = new AbortController();
  });
  afterEach(() => {
    stop.abort();
    database.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const account = privateKeyToAccount(generatePrivateKey());
  /** A node that is registered and well, and measures itself as `measure` says. */
  function start(indexers: string[], measure: () => void = () => {}) {
    const now = Math.floor(Date.now() / 1000);
    const facts: Record<string, unknown> = {
      nodeOf: { key: account.address, validTo: now + 86_400, prefix: 1n, wgKey: "0x", keyVersion: 1 },
      ...{ controllerOf: operator, deactivated: false, useOf: { epoch: 0 }, limitsOf: { maxActive: 9 }, accepts: true },
    };
    const client = {
      readContract: async ({ functionName }: { functionName: string }) => facts[functionName],
      getGasPrice: async () => 1n,
      getBalance: async () => 10n ** 18n,
    };
    const said: string[] = [];
    const log = pino({ level: "debug" }, { write: (line: string) => said.push(line) });
    const flags = { dataDir: dir, indexers, offers: { token }, minFreeMiB: 0 };
    const options = {
      config: loadConfig({ flags, env: {}, file: undefined, cwd: dir }),
      self: { operator, index: 0, account },
      rpc: { client } as unknown as Rpc,
      deployment: { chainId: 31337, market },
      ...{ database, behindSince: () => null, now: () => now, onChange: () => {} },
      proven: () => ({ containers: true, mesh: false, gvisor: false, gpus: [], attestation: "none" }),
      measure: async () => {
        measure();
        return { cpuMilli: 1000, memoryMiB: 512, diskMiB: 512, gpus: 0 };
      },
    } as unknown as OfferingOptions;
    return { offering: startOffering(options, { signal: stop.signal, log }), said };
  }

  it("posts what it signed, and is not held up by an indexer that talks without end", async () => {
    const posted = Promise.withResolvers<unknown>();
    const server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      posted.resolve(JSON.parse(Buffer.concat(chunks).toString()));
      response.end("{}");
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    await using endless = await endlessServer({ status: 503 });
    const { offering, said } = start([endless.url, `http://127.0.0.1:${(server.address() as AddressInfo).port}`]);
    expect(await posted.promise).to.have.nested.property("offer.operator", operator);
    expect(await endless.hungUp).to.be.lessThan(32 * 2 ** 20); // what the sockets between them hold is in this
    stop.abort();
    await offering.done;
    expect(said.join("")).to.contain("indexer did not take the offer").and.contain("sent more than");
    server.close();
  });

  it("signs and writes down nothing from the moment in which the node is asked to stop", async () => {
    const { offering, said } = start(["http://127.0.0.1:1"], () => stop.abort());
    await offering.done;
    expect(offering.current()).to.deep.equal([]);
    expect(readOffering(database)?.offers ?? []).to.deep.equal([]);
    expect(said.join("")).to.equal("");
  });
});
