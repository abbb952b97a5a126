import type { Rpc } from "@berth/chain";
import type { Address, Hex } from "@berth/protocol";
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { createSignatureCheck, MAX_WALLET_GAS } from "../../../indexer/src/book/signatures.ts";
import { eventually } from "../../support/eventually.ts";

const HASH: Hex = `0x${"5".repeat(64)}`;
const OTHER: Hex = `0x${"6".repeat(64)}`;
const MAGIC: Hex = `0x1626ba7e${"0".repeat(56)}`;

describe("createSignatureCheck", () => {
  it("takes an account's key at its word, and asks only accounts with code about other signatures", async () => {
    const { isSignedBy, calls } = chainWith({});
    const signer = privateKeyToAccount(generatePrivateKey());
    const signature = await signer.sign({ hash: HASH });
    expect(await isSignedBy("ann", signer.address, HASH, signature)).to.equal(true);
    expect(await isSignedBy("ann", signer.address, OTHER, signature)).to.equal(false);
    expect(calls).to.deep.equal([]);
  });

  it("remembers what a contract said, and asks it again after a time: it may change its mind", async () => {
    const wallet: Wallet = { answer: MAGIC };
    const { isSignedBy, calls, pass } = chainWith(wallet);
    const account = someAccount();
    const ask = () => isSignedBy("ann", account, HASH, "0x1234");
    expect([await ask(), await ask()]).to.deep.equal([true, true]);
    wallet.answer = `0xdeadbeef${"0".repeat(56)}`;
    expect([await ask(), calls.length]).to.deep.equal([true, 1]);
    pass(60_000);
    expect([await ask(), await ask(), calls.length]).to.deep.equal([false, false, 2]);
    wallet.answer = MAGIC;
    pass(10_000);
    expect([await ask(), calls.length]).to.deep.equal([true, 3]);
    expect(await isSignedBy("ann", account, HASH, "0x1235")).to.equal(true);
    expect(calls.length).to.equal(4);
  });

  it("lets a contract use little gas, and takes no answer but the very word that the market takes", async () => {
    const wallet: Wallet = { answer: MAGIC };
    const { isSignedBy, calls } = chainWith(wallet);
    for (const answer of ["0x", "0x1626ba7e", `0x1626ba7e${"0".repeat(55)}1`, undefined] as const) {
      wallet.answer = answer;
      expect(await isSignedBy("ann", someAccount(), HASH, "0x12"), String(answer)).to.equal(false);
    }
    expect(calls.map(({ gas }) => gas)).to.deep.equal(Array.from({ length: 4 }, () => MAX_WALLET_GAS));
  });

  it("takes a failure of the contract for a no, and remembers nothing where the RPC itself failed", async () => {
    const wallet: Wallet = { answer: MAGIC };
    const { isSignedBy } = chainWith(wallet);
    for (const fault of ["execution reverted", "stack underflow (0 <=> 1)", "invalid jump destination", "out of gas"]) {
      wallet.fault = fault;
      expect(await isSignedBy("ann", someAccount(), HASH, "0x12"), fault).to.equal(false);
    }
    const account = someAccount();
    const ask = () => isSignedBy("ann", account, HASH, "0x12");
    wallet.fault = "missing trie node";
    const failure = await ask().catch((error: unknown) => error);
    expect(failure).to.include({ code: "RPC_ERROR", retryable: true });
    expect((failure as Error).message).to.equal(`The RPC of the chain could not ask ${account} about a signature.`);
    wallet.fault = undefined;
    expect(await ask()).to.equal(true);
  });

  it("asks a few contracts at a time, and another sender's before the rest of a flood", async () => {
    const held = Promise.withResolvers<void>();
    const { isSignedBy, calls } = chainWith({ answer: MAGIC, held: held.promise });
    const results = Array.from({ length: 12 }, () => isSignedBy("flood", someAccount(), HASH, "0x12"));
    const flood = Promise.allSettled(results);
    const first = isSignedBy("ann", someAccount(), HASH, "0x12");
    const second = isSignedBy("ann", someAccount(), HASH, "0x12");
    await eventually("four are asked", () => calls.length === 4);
    const mostAsked = calls.length;
    held.resolve();
    expect([await first, await second]).to.deep.equal([true, true]);
    const outcomes = await flood;
    expect(mostAsked).to.equal(4);
    const refused = outcomes.filter((one) => one.status === "rejected");
    expect(refused.length).to.be.within(1, 8);
    for (const { reason } of refused) expect(reason).to.include({ code: "INTAKE_BUSY", retryable: true });
  });
});

interface Wallet {
  answer?: Hex | undefined;
  held?: Promise<void>;
  /** What the RPC says instead of an answer. */
  fault?: string | undefined;
}

/** A chain on which every account is a contract with this answer, or none is. */
function chainWith(wallet: Wallet) {
  const calls: { to: Address; gas: bigint }[] = [];
  const hasCode = "answer" in wallet;
  let nowMs = 1_000;
  const client = {
    getCode: async () => (hasCode ? "0x60" : undefined),
    call: async (call: (typeof calls)[number]) => {
      calls.push(call);
      await wallet.held;
      if (wallet.fault !== undefined) throw new Error(wallet.fault);
      return { data: wallet.answer };
    },
  };
  return {
    calls,
    isSignedBy: createSignatureCheck({ client } as unknown as Rpc, () => nowMs),
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

function someAccount(): Address {
  return privateKeyToAccount(generatePrivateKey()).address;
}
