// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Claim, Terms} from "./Orders.sol";

/// @title Who rules on a dispute
/// @notice The market never calls an arbiter. It only takes `IJobMarket.rule` from the account that both orders name, inside
/// the arbiter's window: a person's key, a multi-signature wallet, a jury, or a court behind an adapter.
/// This is the shape of an arbiter that is a contract, for programs that put rulings through.
interface IArbiter {
    /// @notice Carries out the ruling on a disputed replica by calling `IJobMarket.rule`. Anyone may.
    /// @param evidence what the arbiter needs to rule, like collected votes
    /// @return award token units for the operator, at most the claimed charge
    function carryOut(Terms calldata terms, Claim calldata claim, bytes calldata evidence)
        external
        returns (uint128 award);
}
