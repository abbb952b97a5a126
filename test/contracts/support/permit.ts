import { type Actor, ethers, time } from "./actors.ts";
import { CHAIN_ID, DAY, type Deployed } from "./market.ts";

/** An ERC-2612 permit of `owner` for `spender`. */
export async function signPermit(on: Deployed, owner: Actor, spender: string, value: bigint) {
  const deadline = (await time.latest()) + DAY;
  const domain = { name: "Berth Test Dollar", version: "1", chainId: CHAIN_ID, verifyingContract: on.addresses.token };
  const types = {
    Permit: [
      { name: "owner", type: "address" },
      { name: "spender", type: "address" },
      { name: "value", type: "uint256" },
      { name: "nonce", type: "uint256" },
      { name: "deadline", type: "uint256" },
    ],
  };
  const nonce = (await on.token.nonces(owner)) as bigint;
  const message = { owner: owner.address, spender, value, nonce, deadline };
  const { v, r, s } = ethers.Signature.from(await owner.signTypedData(domain, types, message));
  return { deadline, v, r, s };
}
