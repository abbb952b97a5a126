// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Claim, Terms} from "./Orders.sol";

/// @notice What a verifier says of a result.
enum Verdict {
    Pending, // not yet: ask again
    Stands, // the provider is paid
    Fails, // the provider's bond goes to the sink, the payer is refunded
    Void // nobody can say: the payer is refunded and the bond released
}

/// @title The judge that both orders name for every result of a job
/// @notice The market asks under a gas cap, at the submission (with the node's proof) and, while the answer is Pending, when
/// somebody finalizes (with an empty one). No answer counts as Pending.
interface IVerifier {
    /// @param terms checked by the market against its commitment
    /// @param claim the node's, at the submission not stored yet
    /// @param proof what the node gives for its claim; empty when asked again
    function judge(Terms calldata terms, Claim calldata claim, bytes calldata proof) external view returns (Verdict);
}
