import { expect } from "chai";
import type { MeshNode } from "../../../provider-node/src/mesh/peers.ts";
import { endpointResolver } from "../../../provider-node/src/mesh/resolve.ts";

describe("endpointResolver", () => {
  it("replaces names by addresses and leaves everything else as it is", async () => {
    const resolve = endpointResolver(async (host) => (host === "six.example" ? "2001:db8::1" : "1.2.3.4"));
    const endpoints = ["six.example:5", "four.example:6", "9.9.9.9:7", "[2001:db8::2]:8", "", "nonsense"];
    expect(await endpointsAfter(resolve, endpoints)).to.deep.equal([
      "[2001:db8::1]:5",
      "1.2.3.4:6",
      "9.9.9.9:7",
      "[2001:db8::2]:8",
      "",
      "nonsense",
    ]);
  });

  it("asks once in five minutes, and keeps the last answer when no new one comes", async () => {
    let clockMs = 0;
    const answers = ["1.1.1.1", undefined, "2.2.2.2"];
    const lookup = async () => {
      const answer = answers.shift();
      if (answer === undefined) throw new Error("no answer");
      return answer;
    };
    const resolve = endpointResolver(lookup, () => clockMs);
    const ask = async (atMs: number) => {
      clockMs = atMs;
      return (await endpointsAfter(resolve, ["a.example:1"]))[0];
    };
    expect(await ask(0)).to.equal("1.1.1.1:1");
    expect(await ask(299_999)).to.equal("1.1.1.1:1");
    expect(await ask(300_000)).to.equal("1.1.1.1:1");
    expect(answers).to.deep.equal(["2.2.2.2"]);
    expect(await ask(600_000)).to.equal("2.2.2.2:1");
  });

  it("leaves a name that never had an address, so that the check refuses it", async () => {
    const resolve = endpointResolver(async () => Promise.reject(new Error("no such name")));
    expect(await endpointsAfter(resolve, ["gone.example:1"])).to.deep.equal(["gone.example:1"]);
  });
});

async function endpointsAfter(resolve: ReturnType<typeof endpointResolver>, endpoints: string[]): Promise<string[]> {
  const nodes = endpoints.map((endpoint): MeshNode => {
    return { nodeId: endpoint, wgKey: "0x00", prefix56: 0n, endpoint, validTo: 0, revoked: false };
  });
  return (await resolve(nodes)).map((node) => node.endpoint);
}
