import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connectRpc } from "@berth/chain";
import {
  type Address,
  type Deployment,
  encodeLogAccess,
  type Hex,
  identityRegistryAbi,
  type JobId,
  type LogAccess,
  logAccessTypedData,
  type Request,
  termsOf,
  ZERO_ADDRESS,
} from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { type Abi, createPublicClient, createWalletClient, http } from "viem";
import type { PrivateKeyAccount } from "viem/accounts";
import { createLogGate, type LogGate } from "../../../provider-node/src/http/log-gate.ts";
import type { JobRow } from "../../../provider-node/src/store/journal.ts";
import { type Anvil, startAnvil } from "../../support/anvil.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const market: Address = `0x${"d".repeat(40)}`;
const self = { operator: `0x${"0b".repeat(20)}` as Address, index: 3 };

describe("the gate of the logs", function () {
  this.timeout(30_000);
  let anvil: Anvil;
  let deployment: Deployment;
  let wallet: Address;
  let gate: LogGate;
  let requester: PrivateKeyAccount;
  let heir: PrivateKeyAccount;
  let stranger: PrivateKeyAccount;

  before(async () => {
    anvil = await startAnvil();
    [requester, heir, stranger] = anvil.accounts;
    const identity = await deploy("identity/IdentityRegistry", []);
    wallet = await deploy("mocks/OwnedWallet", [heir.address]);
    deployment = { chainId: 31337, fromBlock: 0, identity, staking: ZERO_ADDRESS, market, tokens: [] };
  });
  beforeEach(async () => {
    gate = await openGate(anvil.url);
  });
  after(() => anvil?.stop());

  it("lets the requester and the payer in, and nobody else", async () => {
    const job = jobOf({ requester: requester.address, payer: heir.address });
    expect(await codeOf(job, requester)).to.equal("none");
    expect(await codeOf(job, heir)).to.equal("none");
    expect(await codeOf(job, stranger)).to.equal("LOG_ACCESS_DENIED");
    expect(await codeOf(job, stranger, requester.address)).to.equal("LOG_ACCESS_UNSIGNED");
  });

  it("asks a contract wallet about its signature", async () => {
    const job = jobOf({ requester: wallet, payer: wallet });
    expect(await codeOf(job, heir, wallet)).to.equal("none");
    expect(await codeOf(job, heir)).to.equal("LOG_ACCESS_DENIED");
    expect(await codeOf(job, stranger, wallet)).to.equal("LOG_ACCESS_UNSIGNED");
  });

  it("goes by who controls an identity now, not by its first key", async () => {
    const job = jobOf({ requester: requester.address, payer: requester.address });
    await write(requester, deployment.identity, identityRegistryAbi as Abi, "changeOwner", [
      requester.address,
      heir.address,
    ]);
    expect(await codeOf(job, heir)).to.equal("none");
    expect(await codeOf(job, requester)).to.equal("LOG_ACCESS_DENIED");
  });

  it("looks at what was signed before it asks the chain, and says when that does not answer", async () => {
    const job = jobOf({ requester: stranger.address, payer: stranger.address });
    const other = await startAnvil();
    const blind = await openGate(other.url).finally(other.stop);
    expect(await codeOf(job, stranger, stranger.address, { index: 4 }, blind)).to.equal("LOG_ACCESS_ELSEWHERE");
    expect(await codeOf(job, stranger, stranger.address, { expiresAt: 1 }, blind)).to.equal("LOG_ACCESS_EXPIRED");
    expect(await codeOf(job, stranger, stranger.address, {}, blind)).to.equal("RPC_UNAVAILABLE");
  });

  function jobOf(parties: Pick<Request, "requester" | "payer">): JobRow {
    const lower = { requester: parties.requester.toLowerCase(), payer: parties.payer.toLowerCase() } as typeof parties;
    const terms = termsOf({ chainId: 31337, market }, aRequest(lower), anOffer(), 0);
    return { jobId: terms.job.jobId as JobId, replica: 0, terms, matchedAt: 0, droppedAt: null, chain: "active" };
  }

  async function codeOf(
    job: JobRow,
    signer: PrivateKeyAccount,
    account: Address = signer.address,
    changes: Partial<LogAccess> = {},
    asked: LogGate = gate,
  ): Promise<string> {
    const expiresAt = Math.floor(Date.now() / 1000) + 60;
    const access = { jobId: job.jobId, replica: 0, ...self, expiresAt, ...changes };
    const signature = await signer.signTypedData(logAccessTypedData({ chainId: 31337, market }, access));
    const header = encodeLogAccess({ account, ...access, signature });
    return await asked.admit(header, job, new AbortController().signal).then(
      () => "none",
      (error: { code: string }) => error.code,
    );
  }

  async function openGate(url: string): Promise<LogGate> {
    const rpc = await connectRpc({ urls: [url], log: pino({ level: "silent" }), timeoutMs: 5000 });
    return createLogGate({ rpc, deployment, self, now: () => 0 });
  }

  async function deploy(path: string, args: unknown[]): Promise<Address> {
    const name = path.split("/").at(-1);
    const base = process.env["BERTH_TEST_ARTIFACTS"] ?? join(import.meta.dirname, "../../../artifacts");
    const { abi, bytecode } = JSON.parse(
      readFileSync(join(base, "contracts", `${path}.sol`, `${name}.json`), "utf8"),
    ) as {
      abi: Abi;
      bytecode: Hex;
    };
    const client = createWalletClient({ account: anvil.accounts[0], transport: http(anvil.url) });
    return await mined(await client.deployContract({ abi, bytecode, args, chain: null }));
  }

  async function write(from: PrivateKeyAccount, address: Address, abi: Abi, functionName: string, args: unknown[]) {
    const client = createWalletClient({ account: from, transport: http(anvil.url) });
    await mined(await client.writeContract({ address, abi, functionName, args, chain: null }));
  }

  async function mined(hash: Hex): Promise<Address> {
    const reader = createPublicClient({ transport: http(anvil.url), pollingInterval: 20 });
    const { status, contractAddress } = await reader.waitForTransactionReceipt({ hash });
    if (status !== "success") throw new Error(`transaction ${hash} reverted`);
    return (contractAddress ?? ZERO_ADDRESS).toLowerCase() as Address;
  }
});
