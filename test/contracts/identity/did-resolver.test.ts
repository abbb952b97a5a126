import { createServer } from "node:http";
import { didOf } from "@berth/protocol";
import { expect } from "chai";
import { type DIDDocument, type DIDResolutionResult, Resolver } from "did-resolver";
import { getResolver } from "ethr-did-resolver";
import { ethers, loadFixture, provider, time } from "../support/actors.ts";
import { aProfile, CHAIN_ID, deployedMarket, publishNode, text32 } from "../support/market.ts";

/** The `X25519` keys that a document really carries: a revoked one may linger in `keyAgreement` by reference. */
const wgKeys = (document: DIDDocument | null) =>
  (document?.verificationMethod ?? [])
    .filter(({ type }) => type.startsWith("X25519"))
    .map((key) => key.publicKeyBase64);
const base64 = (hex: string) => Buffer.from(hex.slice(2), "hex").toString("base64");
const delegates = (document: DIDDocument | null) =>
  (document?.verificationMethod ?? [])
    .filter(({ id }) => id.includes("#delegate"))
    .map((key) => key.blockchainAccountId);
const services = (document: DIDDocument | null) =>
  (document?.service ?? []).map(({ type, serviceEndpoint }) => [type, serviceEndpoint]);

describe("IdentityRegistry, resolved by ethr-did-resolver over JSON-RPC", () => {
  let close: () => Promise<void>;
  /** As of `block`, at its time; without it as of now, at this computer's time. */
  let resolve: (identity: string, registry: string, block?: number) => Promise<DIDResolutionResult>;

  before(async () => {
    // A JSON-RPC door to the very chain that the other tests talk to.
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => void answer(Buffer.concat(chunks).toString()).then((body) => response.end(body)));
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("The server has no port.");
    close = () => new Promise((done) => server.close(() => done()));
    resolve = (identity, registry, block) => {
      const rpcUrl = `http://127.0.0.1:${address.port}`;
      const resolver = new Resolver(
        getResolver({ networks: [{ name: "devnet", chainId: CHAIN_ID, registry, rpcUrl }] }),
      );
      const version = block === undefined ? "" : `?versionId=${block}`;
      return resolver.resolve(didOf(CHAIN_ID, identity as `0x${string}`) + version);
    };
  });
  after(() => close());

  it("shows the node's keys byte for byte, before and after rotation, revocation and deactivation", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, newNodeKey } = on;
    const look = async (block?: number) => (await resolve(operator.address, on.addresses.identity, block)).didDocument;
    const account = (key: { address: string }) => `eip155:${CHAIN_ID}:${key.address}`;

    const profileCid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    const first = await aProfile(nodeKey, { profileCid });
    await publishNode(on, operator, nodeKey, { profileCid });
    const published = await look();
    expect(wgKeys(published)).to.deep.equal([base64(first.wgKey)]);
    expect(delegates(published).filter(Boolean)).to.deep.equal([account(nodeKey)]);
    expect(services(published)).to.deep.equal([
      ["BerthWireGuard", first.wgEndpoint],
      ["BerthContent", first.contentUrl],
      ["BerthProfile", profileCid],
    ]);
    const agreed = published?.verificationMethod?.find(({ type }) => type.startsWith("X25519"));
    expect(published?.keyAgreement).to.deep.equal([agreed?.id]);

    const second = await aProfile(newNodeKey);
    await publishNode(on, operator, newNodeKey);
    const rotated = await look();
    expect(wgKeys(rotated)).to.deep.equal([base64(second.wgKey)]);
    expect(delegates(rotated).filter(Boolean), "both for an hour").to.deep.equal([
      account(nodeKey),
      account(newNodeKey),
    ]);
    const rotatedAt = await time.latest();
    for (const [until, keys] of [
      [rotatedAt + 3600, [nodeKey, newNodeKey]],
      [rotatedAt + 3601, [newNodeKey]],
    ] as const) {
      await time.increaseTo(until);
      const later = await look(await time.latestBlock());
      expect(delegates(later).filter(Boolean)).to.deep.equal(keys.map(account));
      expect(wgKeys(later)).to.deep.equal([base64(second.wgKey)]);
    }

    await identity.connect(operator).revokeNode(operator, 0);
    // The chain's clock was moved an hour ahead of this computer's.
    const revoked = await look(await time.latestBlock());
    expect(wgKeys(revoked)).to.deep.equal([]);
    expect(delegates(revoked).filter(Boolean)).to.deep.equal([]);

    await publishNode(on, operator, newNodeKey);
    expect(wgKeys(await look(await time.latestBlock()))).to.deep.equal([base64(second.wgKey)]);
    await identity.connect(operator).changeOwner(operator, ethers.ZeroAddress);
    const { didDocument, didDocumentMetadata } = await resolve(operator.address, on.addresses.identity);
    expect(didDocumentMetadata.deactivated).to.equal(true);
    expect(wgKeys(didDocument)).to.deep.equal([]);
  });

  it("shows delegates, attributes and a new owner as the standard does", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, stranger, heir } = on;
    const name = text32("did/svc/BerthContent");
    await identity.connect(operator).addDelegate(operator, text32("sigAuth"), stranger, 86_400);
    await identity.connect(operator).setAttribute(operator, name, ethers.toUtf8Bytes("https://a.example"), 86_400);
    await identity.connect(operator).setAttribute(operator, name, ethers.toUtf8Bytes("https://b.example"), 86_400);
    await identity.connect(operator).revokeAttribute(operator, name, ethers.toUtf8Bytes("https://a.example"));
    await identity.connect(operator).changeOwner(operator, heir);
    const { didDocument } = await resolve(operator.address, on.addresses.identity);
    expect(services(didDocument)).to.deep.equal([["BerthContent", "https://b.example"]]);
    expect(didDocument?.authentication).to.have.lengthOf(2);
    expect(didDocument?.verificationMethod?.[0]?.blockchainAccountId).to.equal(`eip155:${CHAIN_ID}:${heir.address}`);
  });
});

async function answer(body: string): Promise<string> {
  const parsed = JSON.parse(body) as Call | Call[];
  const answers = await Promise.all([parsed].flat().map(answerOne));
  return JSON.stringify(Array.isArray(parsed) ? answers : answers[0]);
}

interface Call {
  id: number;
  method: string;
  params: unknown[];
}

async function answerOne({ id, method, params }: Call) {
  try {
    return { jsonrpc: "2.0", id, result: await provider.request({ method, params }) };
  } catch (error) {
    return { jsonrpc: "2.0", id, error: { code: -32000, message: String(error) } };
  }
}
