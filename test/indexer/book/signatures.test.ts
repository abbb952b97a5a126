import type { Rpc } from "@berth/chain";
import type { Hex } from "@berth/protocol";
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { isSignedBy } from "../../../indexer/src/book/signatures.ts";

const HASH: Hex = `0x${"5".repeat(64)}`;
const OTHER: Hex = `0x${"6".repeat(64)}`;
const MAGIC = "0x1626ba7e";

describe("isSignedBy", () => {
  it("takes an account's key at its word, and asks only accounts with code about other signatures", async () => {
    const { rpc, asked } = chainWith({});
    const signer = privateKeyToAccount(generatePrivateKey());
    const signature = await signer.sign({ hash: HASH });
    expect(await isSignedBy(rpc, signer.address, HASH, signature)).to.equal(true);
    expect(await isSignedBy(rpc, signer.address, OTHER, signature)).to.equal(false);
    expect(asked).to.deep.equal([]);
  });

  it("asks a contract every time: what it says may change", async () => {
    const wallet = { answer: MAGIC };
    const { rpc, asked } = chainWith(wallet);
    const account = privateKeyToAccount(generatePrivateKey()).address;
    expect(await isSignedBy(rpc, account, HASH, "0x1234")).to.equal(true);
    wallet.answer = "0xdeadbeef";
    expect(await isSignedBy(rpc, account, HASH, "0x1234")).to.equal(false);
    expect(asked).to.deep.equal([
      [HASH, "0x1234"],
      [HASH, "0x1234"],
    ]);
  });
});

/** A chain on which every account is a contract with this answer, or none is. */
function chainWith(wallet: { answer?: string }) {
  const asked: unknown[] = [];
  const client = {
    getCode: async () => (wallet.answer === undefined ? undefined : "0x60"),
    readContract: async ({ args }: { args: unknown }) => {
      asked.push(args);
      return wallet.answer;
    },
  };
  return { rpc: { client } as unknown as Rpc, asked };
}
