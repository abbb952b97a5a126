import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { reachCheck } from "../../../provider-node/src/doctor/reach-probe.ts";
import { freePort } from "../../../scripts/lib/free-port.ts";
import { quiet } from "../../support/engine.ts";

describe("reachCheck", () => {
  const open: (() => void)[] = [];
  afterEach(() => {
    for (const close of open.splice(0)) close();
  });
  async function serve(listener: RequestListener): Promise<{ url: string; port: number }> {
    const server = createServer(listener);
    open.push(() => {
      server.close();
      server.closeAllConnections();
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    return { url: `http://127.0.0.1:${port}`, port };
  }
  const node =
    (instance: string): RequestListener =>
    (request, response) =>
      void response.end(JSON.stringify(request.url?.endsWith("/health") ? { alive: true, instance } : {}));
  const host = "127.0.0.1";

  it("passes where the address leads to the port of the node, which does not run", async () => {
    const port = await freePort();
    const proxy = await serve(async (request, response) => {
      const answer = await fetch(`http://127.0.0.1:${port}${request.url?.replace("/berth", "")}`);
      response.end(await answer.text());
    });
    const check = await reachCheck({ host, port, publicUrl: `${proxy.url}/berth/` }, quiet);
    expect(check).to.deep.equal({
      name: "public address",
      status: "ok",
      detail: `${proxy.url}/… leads to this machine`,
    });
  });

  it("passes where it leads to the node, which runs, and warns where that is another one", async () => {
    const [mine, other] = [await serve(node("mine")), await serve(node("other"))];
    const to = async (publicUrl: string) => await reachCheck({ host, port: mine.port, publicUrl }, quiet);
    expect((await to(mine.url)).status).to.equal("ok");
    const wrong = await to(other.url);
    expect(wrong).to.deep.include({ status: "warn", detail: `${other.url} leads to another node.` });
    expect(wrong.fix).to.contain(`port ${mine.port}`);
  });

  it("warns where nothing answers, or what is no node", async () => {
    const port = await freePort();
    const stranger = await serve((_, response) => void response.end("hello"));
    for (const publicUrl of [`http://127.0.0.1:${await freePort()}`, stranger.url]) {
      const check = await reachCheck({ host, port, publicUrl }, quiet);
      expect(check).to.deep.include({ status: "warn", detail: `Nothing answers for this node at ${publicUrl}.` });
    }
    const taken = await reachCheck({ host, port: stranger.port, publicUrl: stranger.url }, quiet);
    expect(taken.detail).to.equal(`Another program has port ${stranger.port} on 127.0.0.1.`);
  });

  it("says where results are when no address is set", async () => {
    const check = await reachCheck({ host, port: 4080 }, quiet);
    expect(check).to.deep.include({ status: "ok" });
    expect(check.detail).to.contain("http://127.0.0.1:4080");
  });
});
