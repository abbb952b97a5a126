import {
  type Address,
  canonicalBytes,
  type JobId,
  jobMarketAbi,
  MarketError,
  type Offer,
  offerTypedData,
  type Request,
  requestTypedData,
  ZERO_ADDRESS,
} from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { buildRequest } from "../../../client/src/actions/build-request.ts";
import { buildSpec } from "../../../client/src/actions/build-spec.ts";
import { blindTerms } from "../../../client/src/actions/estimate.ts";
import { deposit } from "../../../client/src/actions/fund.ts";
import { getJob } from "../../../client/src/actions/get-job.ts";
import { resolveImage } from "../../../client/src/actions/resolve-image.ts";
import { approve, finalize } from "../../../client/src/actions/settle.ts";
import { verifyJob } from "../../../client/src/actions/verify-job.ts";
import { watchJob } from "../../../client/src/actions/watch-job.ts";
import { chainNow, tokenOf } from "../../../client/src/chain-reads.ts";
import type { Client } from "../../../client/src/client.ts";
import { walletFromViem } from "../../../client/src/wallet.ts";
import { tinyImage } from "../support/images.ts";
import { type TestMarket, TOKEN, testMarket } from "../support/market.ts";
import { playNode } from "../support/node.ts";

/** An account that never says anything: a verifier that stays silent, and an arbiter that does. */
const SILENT: Address = `0x${"5".repeat(40)}`;
const CHALLENGE_SECONDS = 600;
const ARBITER_SECONDS = 900;

describe("settling a judged or disputed result", function () {
  this.timeout(20_000);
  let market: TestMarket;
  let client: Client;
  before(async () => {
    market = await testMarket();
    const wallet = walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
    client = await market.client(wallet, { store: market.store, indexerUrl: undefined });
    await deposit(client, await tokenOf(client), 10n * TOKEN);
    const { operator, deployment } = market;
    await market.write(operator, deployment.market, jobMarketAbi, "setAccepted", [operator.address, [SILENT], true]);
  });
  after(() => market.close());

  /** A job of orders that name these judges, with the node's result on chain. */
  async function submitted(judges: Partial<Request & Offer>): Promise<JobId> {
    const { domain } = client;
    const { digest, cid } = await resolveImage(client, `oci:${(await tinyImage(await market.folder())).dir}`);
    const spec = buildSpec({ image: { digest, cid }, runSeconds: 60 });
    await client.store.addBytes(canonicalBytes(spec));
    const wishes = { requester: market.requester.address, token: await tokenOf(client), maxPrice: TOKEN };
    const terms = { ...blindTerms(spec, wishes), ...judges, challengeWindow: CHALLENGE_SECONDS };
    const ordered = buildRequest({ domain, spec, terms, now: await chainNow(client) });
    const { request, jobId } = ordered;
    const offer = { ...market.offer, ...judges };
    const signatures = [
      await market.requester.signTypedData(requestTypedData(domain, request)),
      "0x",
      [offer],
      [await market.hotKey.signTypedData(offerTypedData(domain, offer))],
      [],
    ];
    await market.write(market.operator, domain.market, jobMarketAbi, "matchJob", [request, ...signatures]);
    await playNode({ ...market, offer }, { request, signature: "0x", sources: [] });
    return jobId;
  }

  const pass = async (seconds: number) => {
    await market.anvil.call("evm_setNextBlockTimestamp", [(await chainNow(client)) + seconds]);
    await market.anvil.call("evm_mine");
  };
  const refused = async (work: Promise<unknown>): Promise<string> => {
    const error = await work.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(MarketError);
    return (error as MarketError).message;
  };

  it("verifies and approves a result that its verifier has said nothing about", async () => {
    const jobId = await submitted({ verifier: SILENT, arbiterWindow: ARBITER_SECONDS });
    const { order, state } = await getJob(client, jobId);
    expect(state).to.equal("judging");
    const watched = await watchJob(client, { jobId, order, openUntil: undefined });
    expect(watched.job.state).to.equal("judging");
    expect((await verifyJob(client, jobId)).ok).to.equal(true);
    await approve(client, jobId);
    expect((await getJob(client, jobId)).state).to.equal("settled");
  });

  it("takes the deposit back where the verifier never says anything", async () => {
    const jobId = await submitted({ verifier: SILENT, arbiterWindow: ARBITER_SECONDS });
    await pass(CHALLENGE_SECONDS);
    expect(await refused(finalize(client, jobId))).to.include("WindowOpen");
    await pass(ARBITER_SECONDS + 1);
    await finalize(client, jobId);
    expect((await getJob(client, jobId)).replicas[0]).to.include({ state: "refunded", reason: "undecided" });
  });

  it("keeps the time of the submission through a dispute, and ends one that nobody ruled on", async () => {
    const jobId = await submitted({ arbiter: SILENT, arbiterWindow: ARBITER_SECONDS });
    const before = await getJob(client, jobId);
    const [replica] = before.replicas;
    await pass(CHALLENGE_SECONDS / 2);
    await market.write(market.requester, client.domain.market, jobMarketAbi, "dispute", [
      replica?.terms,
      replica?.claim,
    ]);
    const disputed = await getJob(client, jobId);
    expect(disputed.replicas[0]).to.include({ state: "disputed", submittedAt: replica?.submittedAt });
    expect(await refused(approve(client, jobId))).to.include("no result to approve");
    expect((await verifyJob(client, jobId)).ok).to.equal(true);

    await pass(ARBITER_SECONDS + 1);
    await finalize(client, jobId);
    expect((await getJob(client, jobId)).replicas[0]).to.include({ state: "settled", charge: replica?.claim?.charge });
    expect(before.order).to.include({ arbiter: SILENT, verifier: ZERO_ADDRESS });
  });
});
