import { network } from "hardhat";

export const { ethers, networkHelpers, provider } = await network.getOrCreate();
export const { loadFixture, time } = networkHelpers;

/** The next transaction runs at `timestamp`. */
export const at = (timestamp: number) => time.setNextBlockTimestamp(timestamp);

/** Everybody who takes part, by role. */
export async function namedActors() {
  const signers = await ethers.getSigners();
  const role = (at: number) => {
    const signer = signers[at];
    if (signer === undefined) throw new Error(`There is no account ${at}.`);
    return signer;
  };
  return {
    deployer: role(0),
    requester: role(1),
    payer: role(2),
    operator: role(3),
    nodeKey: role(4),
    otherOperator: role(5),
    otherNodeKey: role(6),
    matcher: role(7),
    stranger: role(8),
    sink: role(9),
    heir: role(10),
    newNodeKey: role(11),
    guardian: role(12),
    arbiter: role(13),
  };
}

export type Actors = Awaited<ReturnType<typeof namedActors>>;
export type Actor = Actors[keyof Actors];
