import type { BaseContract, BaseContractMethod, ContractRunner } from "ethers";
import type { Abi, ContractFunctionName } from "viem";

/** A contract whose methods are named by its generated ABI. */
export type Typed<A extends Abi> = Omit<BaseContract, "connect"> &
  Record<ContractFunctionName<A>, BaseContractMethod> & { connect(runner: ContractRunner | null): Typed<A> };

/** Names the methods of a contract that ethers gives without types. */
export function typed<A extends Abi>(contract: BaseContract): Typed<A> {
  return contract as unknown as Typed<A>;
}
