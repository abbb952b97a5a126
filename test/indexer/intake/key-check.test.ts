import type { Hex } from "@berth/protocol";
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { createKeyCheck } from "../../../indexer/src/intake/key-check.ts";
import { type RecoverKey, recoverNatively, recoverPortably } from "../../../indexer/src/intake/recover.ts";

const HASH: Hex = `0x${"a".repeat(64)}`;
const OTHER: Hex = `0x${"b".repeat(64)}`;

describe("createKeyCheck", () => {
  it("verifies a good signature once, however it is written", async () => {
    const { isKeyOf, work } = counted(10);
    const signer = newAccount();
    const signature = await signer.sign({ hash: HASH });
    const shouted: Hex = `0x${signature.slice(2).toUpperCase()}`;
    for (const given of [signature, signature, shouted]) {
      expect(await isKeyOf(signer.address, HASH, given)).to.equal(true);
    }
    expect(work.recovered).to.equal(1);
  });

  it("knows it for no other hash, account or signature", async () => {
    const { isKeyOf } = counted(10);
    const [signer, stranger] = [newAccount(), newAccount()];
    const signature = await signer.sign({ hash: HASH });
    for (let i = 0; i < 2; i++) {
      expect(await isKeyOf(signer.address, HASH, signature)).to.equal(true);
      expect(await isKeyOf(signer.address, OTHER, signature)).to.equal(false);
      expect(await isKeyOf(stranger.address, HASH, signature)).to.equal(false);
      expect(await isKeyOf(signer.address, HASH, `${signature}00`)).to.equal(false);
      expect(await isKeyOf(signer.address, HASH, await stranger.sign({ hash: HASH }))).to.equal(false);
    }
  });

  it("keeps good signatures however much junk comes", async () => {
    const { isKeyOf, work } = counted(2);
    const [signer, stranger] = [newAccount(), newAccount()];
    const signature = await signer.sign({ hash: HASH });
    await isKeyOf(signer.address, HASH, signature);
    const junk = await stranger.sign({ hash: HASH });
    for (let i = 0; i < 5; i++) expect(await isKeyOf(newAccount().address, HASH, junk)).to.equal(false);
    const before = work.recovered;
    expect(await isKeyOf(signer.address, HASH, signature)).to.equal(true);
    expect(work.recovered).to.equal(before);
  });
});

function newAccount() {
  return privateKeyToAccount(generatePrivateKey());
}

function counted(max: number) {
  const work = { recovered: 0 };
  const recover: RecoverKey = (...given) => {
    work.recovered++;
    return (recoverNatively ?? recoverPortably)(...given);
  };
  return { isKeyOf: createKeyCheck(max, recover), work };
}
