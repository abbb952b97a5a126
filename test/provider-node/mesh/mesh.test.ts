import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { meshAddress, meshSubnet } from "@berth/protocol";
import { expect } from "chai";
import { pino } from "pino";
import { detectBackend } from "../../../provider-node/src/mesh/detect.ts";
import { reapMesh } from "../../../provider-node/src/mesh/ledger.ts";
import type { MeshNode } from "../../../provider-node/src/mesh/peers.ts";
import { probeMesh } from "../../../provider-node/src/mesh/probe.ts";
import { eventually } from "../../support/eventually.ts";
import { type Host, type StartedMesh, twoHosts } from "./two-hosts.ts";

describe("a mesh of two nodes in network namespaces of their own", () => {
  let a: Host;
  let b: Host;
  let end: (() => Promise<void>) | undefined;

  before(async function () {
    const { backend } = await detectBackend(AbortSignal.timeout(10_000));
    if (backend === undefined) this.skip();
  });
  beforeEach(async () => {
    const made = await twoHosts();
    [a, b] = made.hosts;
    end = made.end;
  });
  afterEach(async () => {
    await end?.();
    end = undefined;
  });

  it("reaches peers by mesh address while they are registered, and nobody else", async () => {
    const { nodeA, nodeB, meshA, meshB, nodes } = await joined();
    expect(meshA.address).to.equal(meshAddress(a.options.prefix56));
    expect(await nodeA.ping(meshB.address)).to.be.a("number");
    expect(await nodeB.ping(meshA.address)).to.be.a("number");
    expect(a.run("ping", "-6", "-c", "1", "-W", "2", meshB.address)).to.include("1 received");

    expect(a.run("wg", "show", a.name, "allowed-ips").trim()).to.equal(
      `${meshB.publicKey}\t${meshSubnet(b.options.prefix56)}`,
    );
    expect(a.run("wg", "show", a.name, "public-key").trim()).to.equal(meshA.publicKey);
    expect(a.run("ip", "-6", "address", "show", "dev", a.name)).to.include(`${meshA.address}/64`);
    expect(a.run("ip", "link", "show", "dev", a.name)).to.include("mtu 1420");
    const { peers, rejected, listenPort } = await nodeA.status();
    expect(peers.map((peer) => peer.nodeId)).to.deep.equal(["b"]);
    expect(peers[0]?.latestHandshake).to.be.above(0);
    expect({ rejected, listenPort }).to.deep.equal({ rejected: [], listenPort: 51_820 });

    const without = nodes.map((node) => ({ ...node, revoked: node.nodeId === "b" }));
    await nodeA.applyNodes(without);
    expect(a.run("wg", "show", a.name, "peers")).to.equal("");
    expect(a.run("ip", "-6", "route", "show", "dev", a.name)).to.not.include(meshSubnet(b.options.prefix56));
    expect(await nodeA.ping(meshB.address)).to.equal(undefined);

    await nodeA.applyNodes(nodes);
    expect(await nodeA.ping(meshB.address)).to.be.a("number");
  });

  it("keeps a peer's session when the same registry is applied again", async () => {
    const { nodeA, meshB, nodes } = await joined();
    await nodeA.ping(meshB.address);
    const before = (await nodeA.status()).peers;
    await nodeA.applyNodes(nodes);
    expect((await nodeA.status()).peers[0]?.latestHandshake).to.equal(before[0]?.latestHandshake);
    expect(before[0]?.rxBytes).to.satisfy((bytes: bigint) => bytes > 0n);
  });

  it("sends to a new endpoint when the registry changes it, and not back to the old one of a peer that moved", async () => {
    const { nodeA, meshB, nodes } = await joined();
    const endpoint = () => a.run("wg", "show", a.name, "endpoints").trim().split("\t")[1];
    b.run("wg", "set", b.name, "listen-port", "51999");
    await nodeA.applyNodes(
      nodes.map((node) => (node.nodeId === "b" ? { ...node, endpoint: `${b.underlay}:51999` } : node)),
    );
    expect(endpoint()).to.equal(`${b.underlay}:51999`);
    expect(await nodeA.ping(meshB.address)).to.be.a("number");

    b.run("wg", "set", b.name, "listen-port", "51998");
    b.run("ping", "-6", "-c", "1", "-W", "2", meshAddress(a.options.prefix56));
    await nodeA.applyNodes(
      nodes.map((node) => (node.nodeId === "b" ? { ...node, endpoint: `${b.underlay}:51999` } : node)),
    );
    expect(endpoint()).to.equal(`${b.underlay}:51998`);
    expect(await nodeA.ping(meshB.address)).to.be.a("number");
  });

  it("drops a peer by itself when its registration runs out", async () => {
    const { nodeA, nodes } = await joined();
    const soon = Math.floor(Date.now() / 1000);
    await nodeA.applyNodes(nodes.map((node) => ({ ...node, validTo: soon + 1 })));
    await eventually("the peer is gone", () => a.run("wg", "show", a.name, "peers") === "");
  });

  it("leaves nothing behind when it stops, however often, also after its signal", async () => {
    const { nodeA } = await joined();
    expect(a.hasInterface()).to.equal(true);
    await nodeA.abort();
    expect(a.hasInterface()).to.equal(true);
    await nodeA.stop();
    await nodeA.stop();
    expect(a.hasInterface()).to.equal(false);
    expect(await a.daemons()).to.deep.equal([]);
    expect(a.hasSocket()).to.equal(false);
    const again = await a.spawn();
    await again.start();
  });

  it("starts again after a kill -9 with the peers it knew, and one daemon at most", async () => {
    const { nodeA, meshA, meshB, backend } = await joined();
    expect(await nodeA.ping(meshB.address)).to.be.a("number");
    await nodeA.kill9();
    const left = await a.daemons();
    const next = a.spawn();
    const restarted = await next.start();
    expect(restarted).to.deep.equal(meshA);
    expect(await next.ping(meshB.address)).to.be.a("number");
    const daemons = await a.daemons();
    expect(daemons.length).to.equal(backend === "userspace" ? 1 : 0);
    expect(daemons).to.not.include.members(left.length > 0 ? left : [-1]);
    await next.stop();
    expect(a.hasInterface()).to.equal(false);
  });

  it("refuses a second process on the same data folder, and the first one goes on", async () => {
    const { nodeA, meshB } = await joined();
    const error = await a
      .spawn()
      .start()
      .catch((thrown: Error) => thrown);
    expect(error)
      .to.be.instanceOf(Error)
      .with.property("message")
      .that.matches(/runs the mesh interface/);
    expect(await nodeA.ping(meshB.address)).to.be.a("number");
  });

  it("brings the interface back when the daemon dies", async function () {
    const { nodeA, meshB, backend } = await joined();
    if (backend !== "userspace") this.skip();
    const [pid = 0] = await a.daemons();
    process.kill(pid, "SIGKILL");
    await eventually("another daemon serves the interface", async () => {
      const { daemonPid, peers } = await nodeA.status().catch(() => ({ daemonPid: pid, peers: [] }));
      return daemonPid !== pid && peers.length === 1;
    });
    expect(await nodeA.ping(meshB.address)).to.be.a("number");
    expect((await a.daemons()).length).to.equal(1);
  });

  it("finds its peer again after this machine's own address changed", async () => {
    const { nodeA, meshB } = await joined();
    expect(await nodeA.ping(meshB.address)).to.be.a("number");
    a.run("ip", "address", "add", "10.231.7.77/24", "dev", "eth0");
    a.run("ip", "address", "del", `${a.underlay}/24`, "dev", "eth0");
    a.run("ip", "address", "replace", "10.231.7.77/24", "dev", "eth0"); // may go with the first of its subnet
    await eventually("the peer answers", async () => (await nodeA.ping(meshB.address)) !== undefined, 12_000); // by itself it takes longer
  });

  it("can be cleared away from outside its namespace after a kill -9", async function () {
    const { nodeA, backend } = await joined();
    if (backend !== "userspace") this.skip();
    await nodeA.kill9();
    await reapMesh(a.options.stateDir, { signal: AbortSignal.timeout(10_000), log: pino({ level: "silent" }) });
    expect(await a.daemons()).to.deep.equal([]);
    expect(a.hasInterface()).to.equal(false);
    expect(a.hasSocket()).to.equal(false);
  });

  it("refuses a name that another interface has", async () => {
    a.run("ip", "tuntap", "add", "dev", a.name, "mode", "tun");
    const error = await a
      .spawn()
      .start()
      .catch((thrown: Error) => thrown);
    expect(error)
      .to.be.instanceOf(Error)
      .with.property("message")
      .that.matches(/already a network interface called/);
    expect(a.hasInterface()).to.equal(true);
  });

  it("keeps the private key in its own file and nowhere else", async () => {
    const { nodeA } = await joined();
    const key = (await readFile(a.options.keyFile, "utf8")).trim();
    expect(a.run("wg", "show", a.name, "private-key").trim()).to.equal(key);
    const files = (await readdir(a.options.stateDir)).map((name) => join(a.options.stateDir, name));
    const about = (await a.daemons()).flatMap((pid) => [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`]);
    const holding = [...files, ...about].filter((file) => readFileSync(file, "utf8").includes(key));
    expect(holding).to.deep.equal([a.options.keyFile]);
    expect(JSON.stringify(await nodeA.status(), (_, value) => String(value))).to.not.include(key);
  });

  it("ends a daemon whose process id its node had no time to write down", async function () {
    const { nodeA, meshB, backend } = await joined();
    if (backend !== "userspace") this.skip();
    await nodeA.kill9();
    const ledger = join(a.options.stateDir, "mesh-ledger.json");
    const { daemon, ...intent } = JSON.parse(await readFile(ledger, "utf8"));
    expect(await a.daemons()).to.deep.equal([daemon.pid]);
    await writeFile(ledger, JSON.stringify(intent));
    const next = a.spawn();
    await next.start();
    expect((await a.daemons()).length).to.equal(1);
    expect(await a.daemons()).to.not.include(daemon.pid);
    expect(await next.ping(meshB.address)).to.be.a("number");
  });

  it("says so when the chosen back-end fails, and the same process can start with another", async function () {
    const { backend } = await detectBackend(AbortSignal.timeout(10_000));
    if (backend !== "userspace") this.skip();
    const node = a.spawn();
    const error = await node.start({ backend: "kernel" }).catch((thrown: Error) => thrown);
    expect(error)
      .to.be.instanceOf(Error)
      .with.property("message")
      .that.matches(/^Making the interface bm\w+ failed: /);
    expect((await node.start({ backend: "userspace" })).backend).to.equal("userspace");
  });

  async function joined() {
    const nodeA = a.spawn();
    const nodeB = b.spawn();
    const [meshA, meshB] = await Promise.all([nodeA.start(), nodeB.start()]);
    const nodes = [registered("a", a, meshA), registered("b", b, meshB)];
    await nodeA.applyNodes(nodes);
    await nodeB.applyNodes(nodes);
    return { nodeA, nodeB, meshA, meshB, nodes, backend: meshA.backend };
  }
});

describe("probeMesh", () => {
  it("proves the mesh and leaves no interface, or says what is missing", async () => {
    const before = execFileSync("ip", ["-brief", "link"], { encoding: "utf8" });
    const probe = await probeMesh();
    const { backend } = await detectBackend(AbortSignal.timeout(10_000));
    expect(probe.ok, probe.detail).to.equal(backend !== undefined);
    expect(probe.detail).to.match(/\.$/);
    if (!probe.ok) expect(probe.fix).to.be.a("string");
    const names = (text: string) => text.split("\n").filter((line) => line.startsWith("bm"));
    expect(names(execFileSync("ip", ["-brief", "link"], { encoding: "utf8" }))).to.deep.equal(names(before));
  });
});

function registered(nodeId: string, host: Host, { wgKey }: StartedMesh): MeshNode {
  const { prefix56, listenPort } = host.options;
  const validTo = Math.floor(Date.now() / 1000) + 3600;
  return { nodeId, wgKey, prefix56, endpoint: `${host.underlay}:${listenPort}`, validTo, revoked: false };
}
