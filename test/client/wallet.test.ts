import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connectRpc, type Rpc } from "@berth/chain";
import { type Address, type MarketError, requestTypedData } from "@berth/protocol";
import { expect } from "chai";
import { Wallet as EthersWallet, JsonRpcProvider } from "ethers";
import { createWalletClient, http, verifyTypedData } from "viem";
import { deposit } from "../../client/src/actions/fund.ts";
import { marketBalance, tokenOf } from "../../client/src/chain-reads.ts";
import {
  type Wallet,
  walletFromEthers,
  walletFromKeyFile,
  walletFromPrivateKey,
  walletFromViem,
} from "../../client/src/wallet.ts";
import { aRequest } from "../support/orders.ts";
import { silent, type TestMarket, TOKEN, testMarket } from "./support/market.ts";

const REQUESTER_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

describe("wallets", function () {
  this.timeout(20_000);
  let market: TestMarket;
  let rpc: Rpc;
  let provider: JsonRpcProvider;
  before(async () => {
    market = await testMarket();
    rpc = await connectRpc({ urls: [market.anvil.url], log: silent });
    provider = new JsonRpcProvider(market.anvil.url, undefined, { cacheTimeout: -1, pollingInterval: 50 });
  });
  after(async () => {
    provider.destroy();
    await market.close();
  });

  const wallets: Record<string, () => Promise<Wallet>> = {
    "a viem wallet client": async () =>
      walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) })),
    "an ethers signer": () => walletFromEthers(new EthersWallet(REQUESTER_KEY, provider)),
    "a private key": async () => walletFromPrivateKey(REQUESTER_KEY)(rpc),
  };
  for (const [name, make] of Object.entries(wallets)) {
    it(`${name} signs requests and deposits with one permit transaction`, async () => {
      const wallet = await make();
      expect(wallet.address).to.equal(market.requester.address.toLowerCase());
      expect(await wallet.chainId?.()).to.equal(31337);
      const document = requestTypedData({ chainId: 31337, market: market.deployment.market }, aRequest());
      const signature = await wallet.signTypedData(document);
      expect(await verifyTypedData({ ...document, address: wallet.address, signature })).to.equal(true);

      const client = await market.client(wallet);
      const token = await tokenOf(client);
      const before = await marketBalance(client, wallet.address, token.address);
      const sent = await deposit(client, token, 3n * TOKEN);
      expect(sent.map(({ what }) => what)).to.deep.equal(["deposit"]);
      expect(await marketBalance(client, wallet.address, token.address)).to.equal(before + 3n * TOKEN);
    });
  }

  it("falls back to an allowance where a token's permits cannot be known", async () => {
    const client = await market.client(await (wallets["a private key"] as () => Promise<Wallet>)());
    // A token whose separator is not that of its name: permits would be signed for the wrong domain.
    const reads = client.rpc.client.readContract.bind(client.rpc.client);
    const readContract = async (call: { functionName: string }) =>
      call.functionName === "DOMAIN_SEPARATOR" ? `0x${"0".repeat(64)}` : await reads(call as never);
    const odd = { ...client, rpc: { ...client.rpc, client: { ...client.rpc.client, readContract } } } as never;
    const sent = await deposit(odd, await tokenOf(client), TOKEN);
    expect(sent.map(({ what }) => what)).to.deep.equal(["allow deposit", "deposit"]);
  });

  it("refuses a wallet on another chain before it is asked to sign", async () => {
    const wallet = { ...(await (wallets["a private key"] as () => Promise<Wallet>)()), chainId: async () => 1 };
    const client = await market.client(wallet);
    const caught = (await deposit(client, await tokenOf(client), TOKEN).catch(
      (error: unknown) => error,
    )) as MarketError;
    expect(caught.code).to.equal("WRONG_CHAIN");
    expect(caught.message).to.equal("The wallet is on chain 1, but the market is on chain 31337.");
  });

  it("names a refusal to sign as such", async () => {
    const refusing: Wallet = {
      address: market.requester.address.toLowerCase() as Address,
      signTypedData: () => Promise.reject(Object.assign(new Error("User rejected the request."), { code: 4001 })),
      sendTransaction: () => Promise.reject(Object.assign(new Error("User rejected the request."), { code: 4001 })),
    };
    const client = await market.client(refusing);
    const token = await tokenOf(client);
    const caught = (await deposit(client, token, TOKEN).catch((error: unknown) => error)) as MarketError;
    expect(caught.code).to.equal("NOT_SIGNED");
  });

  it("reads a key file that only its owner can read, and never repeats its content", async () => {
    const file = join(await market.folder(), "key");
    await writeFile(file, REQUESTER_KEY.slice(2), { mode: 0o600 });
    expect((await walletFromKeyFile(file))(rpc).address).to.equal(market.requester.address.toLowerCase());
    await chmod(file, 0o644);
    const open = (await walletFromKeyFile(file).catch((error: unknown) => error)) as MarketError;
    expect(open.code).to.equal("KEY_EXPOSED");
    await chmod(file, 0o600);
    await writeFile(file, "0xsecret-but-wrong");
    const wrong = (await walletFromKeyFile(file).catch((error: unknown) => error)) as MarketError;
    expect(wrong.code).to.equal("KEY_INVALID");
    expect(wrong.message).to.not.include("secret");
  });
});
