import { type Address, operatorTree } from "@berth/protocol";
import { ethers, time } from "../support/actors.ts";
import { addressOf, CHAIN_ID, deployedMarket, fund, publishNode, stake } from "../support/market.ts";
import type { Chain } from "./chain.ts";
import { LOOSE } from "./plan.ts";
import { readStorage } from "./read.ts";
import type { Facts } from "./scene.ts";
import type { Trace } from "./trace.ts";

const DAY = 86_400;

/** Two operators with a node each, a requester, a payer, and little money: where every trace begins. */
export async function begin(): Promise<{ chain: Chain; trace: Trace }> {
  const on = await deployedMarket();
  const judge = await ethers.deployContract("JudgeDouble");
  const judgeAddress = (await judge.getAddress()) as Address;
  const validTo = (await time.latest()) + 60 * DAY;
  const whats = [on.addresses.token, judgeAddress, addressOf(on.arbiter)];
  for (const [operator, key] of [
    [on.operator, on.nodeKey],
    [on.otherOperator, on.otherNodeKey],
  ] as const) {
    await publishNode(on, operator, key, { validTo });
    await on.market.connect(operator).setNodeLimits(operator, 0, LOOSE);
    await on.market.connect(operator).setAccepted(operator, whats, true);
    await stake(on, operator, 3_000n);
  }
  await fund(on, on.requester, 6_000n);
  await fund(on, on.payer, 3_000n);
  for (const actor of [on.requester, on.payer, on.operator, on.otherOperator, on.matcher, on.stranger]) {
    await on.token.mint(actor, 1_000n);
  }
  const { requester, payer, operator, nodeKey, otherOperator, otherNodeKey, matcher, stranger, sink, arbiter } = on;
  const nodes = [operator, nodeKey, otherOperator, otherNodeKey];
  const all = [requester, payer, ...nodes, matcher, stranger, sink, arbiter, on.guardian];
  for (const actor of all) {
    await on.token.connect(actor).approve(on.market, ethers.MaxUint256);
    await on.token.connect(actor).approve(on.staking, ethers.MaxUint256);
  }
  await judge.getFunction("set")(`0x${"1".padStart(64, "0")}`, 32, false, false);

  const tree = operatorTree([addressOf(on.operator), addressOf(on.stranger)]);
  const facts: Facts = {
    domain: { chainId: CHAIN_ID, market: on.addresses.market },
    market: on.addresses.market,
    staking: on.addresses.staking,
    token: on.addresses.token,
    sink: addressOf(on.sink),
    guardian: addressOf(on.guardian),
    judge: judgeAddress,
    arbiter: addressOf(on.arbiter),
    nodes: {
      [on.operator.address]: { key: addressOf(on.nodeKey), validTo },
      [on.otherOperator.address]: { key: addressOf(on.otherNodeKey), validTo },
    },
    list: { root: tree.root, proofs: { [on.operator.address]: tree.proofOf(addressOf(on.operator)) ?? [] } },
  };
  const chain: Chain = { on, facts, people: all, judge: { set: judge.getFunction("set") } };
  const trace: Trace = {
    facts,
    people: {
      requester: addressOf(requester),
      payer: addressOf(payer),
      operator: addressOf(operator),
      otherOperator: addressOf(otherOperator),
      matcher: addressOf(matcher),
      stranger: addressOf(stranger),
    },
    latest: await time.latest(),
    answer: "stands",
    storage: await readStorage(chain, []),
    orders: [],
    runs: [],
  };
  return { chain, trace };
}
