import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { postJsonRpc } from "../../chain/src/endpoint.ts";

const options = { timeoutMs: 5000, maxResponseBytes: 10_000, signal: undefined };

describe("postJsonRpc", () => {
  it("sends a call again when the server had closed the kept-alive connection", async () => {
    let calls = 0;
    const server = createServer((request, response) => {
      calls++;
      if (calls === 2) return void request.socket.destroy(); // as if it had timed out while the call was on its way
      response.setHeader("content-type", "application/json").end('{"jsonrpc":"2.0","id":0,"result":"0x1"}');
    });
    await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const call = () => postJsonRpc(url, [{ method: "eth_chainId" }], options);
      expect(await call()).to.deep.equal([{ result: "0x1" }]);
      expect(await call()).to.deep.equal([{ result: "0x1" }]);
      expect(calls).to.equal(3);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
