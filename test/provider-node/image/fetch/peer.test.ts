import { expect } from "chai";
import { peersFor } from "../../../../provider-node/src/image/fetch/peer.ts";
import type { RegistryNode } from "../../../../provider-node/src/store/journal.ts";

describe("peersFor", () => {
  const node = (index: number, change: Partial<RegistryNode> = {}) =>
    ({ operator: "0xaa", index, contentUrl: `http://node-${index}.example`, validTo: 2000, ...change }) as RegistryNode;
  const nodes = Array.from({ length: 10 }, (_, index) => node(index));
  const self = { operator: "0xaa", index: 3 };
  const ask = (digest: string, known = nodes) =>
    peersFor(digest, known, self, { now: 1000, allowPrivate: false }).map(({ url }) => url);

  it("names a few other nodes, in an order that is the image's own and everyone's", () => {
    const first = ask("sha256:a");
    expect(first).to.have.length(4);
    expect(ask("sha256:a", nodes.slice(2, 5)).sort()).to.deep.equal(["http://node-2.example", "http://node-4.example"]);
    expect(ask("sha256:a", [...nodes].reverse())).to.deep.equal(first);
    const orders = new Set(["b", "c", "d", "e", "f"].map((name) => ask(`sha256:${name}`).join()));
    expect(orders.size).to.be.above(1);
  });

  it("asks only nodes that serve content and are registered now, each address once and in public", () => {
    const odd = [
      node(0, { contentUrl: "" }),
      node(1, { validTo: 999 }),
      node(2, { contentUrl: "ftp://x" }),
      node(4),
      node(5, { contentUrl: "http://node-4.example" }),
    ];
    expect(peersFor("sha256:a", odd, self, { now: 1000, allowPrivate: false })).to.deep.equal([
      { url: "http://node-4.example", publicOnly: true },
    ]);
    expect(peersFor("sha256:a", odd, self, { now: 1000, allowPrivate: true })[0]?.publicOnly).to.equal(false);
  });
});
