import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Hex } from "@berth/protocol";
import { expect } from "chai";
import { fetchSnapshot } from "../../../indexer/src/fairness/fetch-snapshot.ts";

const ROOT: Hex = `0x${"ab".repeat(32)}`;
const { signal } = new AbortController();

describe("fetchSnapshot", () => {
  let server: Server | undefined;
  let asked = 0;
  beforeEach(() => {
    asked = 0;
  });
  afterEach(async () => {
    server?.closeAllConnections();
    await new Promise((resolve) => server?.close(resolve));
  });

  it("reads page after page, until there is no next or nothing in it", async () => {
    const pages = [
      { items: ["a", "b"], next: place(2) },
      { items: ["c"], next: place(3) },
      { items: [], next: null },
    ];
    const url = await serve((after) => pages[after === null ? 0 : Number(after) - 1]);
    expect(await fetchSnapshot(`${url}/`, ROOT, signal)).to.deep.equal({ roundText: "{}", leaves: ["a", "b", "c"] });
  });

  it("stops where there are more offers than snapshots have", async () => {
    const items = Array.from({ length: 500 }, (_, i) => String(i));
    const url = await serve((after) => ({ items, next: place(Number(after ?? 0) + 1) }));
    const error = await fetchSnapshot(url, ROOT, signal).catch((thrown) => thrown);
    expect(error).to.include({ code: "SNAPSHOT_UNAVAILABLE" });
    expect(error.message).to.contain("more than 5000 offers");
    expect(asked).to.equal(11);
  });

  it("stops where the pages go in a circle", async () => {
    const url = await serve(() => ({ items: ["a"], next: place(1) }));
    const error = await fetchSnapshot(url, ROOT, signal).catch((thrown) => thrown);
    expect(error).to.include({ code: "SNAPSHOT_UNAVAILABLE" });
    expect(error.message).to.contain("its pages do not go on");
    expect(asked).to.equal(2);
  });

  /** An indexer that answers with these pages; `asked` counts them. */
  async function serve(pageAfter: (after: string | null) => unknown): Promise<string> {
    server = createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? "", "http://indexer");
      const isPage = pathname.endsWith("/leaves");
      if (isPage) asked += 1;
      response.end(JSON.stringify(isPage ? pageAfter(searchParams.get("after")) : { round: "{}" }));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
});

function place(n: number): Hex {
  return `0x${n.toString(16).padStart(64, "0")}`;
}
