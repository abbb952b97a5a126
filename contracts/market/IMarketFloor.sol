// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {IProviderStaking} from "../staking/IProviderStaking.sol";
import {Claim, JobId, Offer, ReplicaState, Request, Terms} from "./Orders.sol";

/// @notice What the market remembers of a replica. One slot.
struct Replica {
    ReplicaState state;
    uint40 matchedAt; // unix seconds
    uint40 lastAt; // unix seconds of the submission, the dispute or a lease's last claim; 0 before the first
    bytes21 commitment; // first 168 bits of the hash of the terms, from the submission on with the claim; of the job id when Posted
}

/// @notice What every job goes through: the match, the result, the settlement.
interface IMarketFloor {
    /// @notice Binds a signed or posted request to one offer per replica, all or nothing. Anyone may call unless the
    /// request names a matcher. Everything is checked here again; the requester pays the offers' prices.
    /// @param operatorProofs for each offer, where the request names its operators: the proof that its operator is one
    /// @custom:reverts any error that names the request, an offer, a node's limits or its capacity
    /// @custom:emits JobMatched, ReplicaMatched for each
    function matchJob(
        Request calldata request,
        bytes calldata requesterSignature,
        bytes calldata payerSignature,
        Offer[] calldata offers,
        bytes[] calldata offerSignatures,
        bytes32[][] calldata operatorProofs
    ) external returns (JobId jobId);

    /// @notice A node takes a posted request for one replica itself. The caller is the node's current key.
    /// @custom:emits JobMatched, ReplicaMatched
    function accept(Request calldata request, Offer calldata offer, bytes32[] calldata operatorProof)
        external
        returns (JobId jobId);

    /// @notice The node's key, or its operator's controller, posts a result inside the submit window. It is paid at once where
    /// the orders leave no time to challenge it and the verifier, if there is one, says that it stands.
    /// @param proof what the verifier needs; empty without one
    /// @custom:reverts NotNode, WrongMode, WrongState, WrongTerms, WindowClosed, ChargeTooHigh, EmptyResult, ResultRefused
    /// @custom:emits ResultSubmitted, and ReplicaSettled when paid at once
    function submit(Terms calldata terms, Claim calldata claim, bytes calldata proof) external;

    /// @notice The requester takes a result early: pays now.
    /// @custom:reverts NotRequester, WrongState, WrongTerms, WrongClaim
    /// @custom:emits ReplicaSettled
    function approve(Terms calldata terms, Claim calldata claim) external;

    /// @notice Anyone ends a replica of a batch job whose time is up.
    /// Active, after the submit window: refunded, the bond slashed; the caller gets the bounty out of it.
    /// Submitted, after the challenge window: paid. Judging, after the challenge window: as the verifier says, and refunded
    /// without a slash when it has said nothing by the end of the arbiter's window. Disputed, after the arbiter's window:
    /// paid, and the requester gets its dispute fee back.
    /// @param claim as submitted; all zero when there is no result
    /// @custom:reverts WrongMode, WrongState, WrongTerms, WrongClaim, WindowOpen
    /// @custom:emits ReplicaSettled or ReplicaRefunded
    function finalize(Terms calldata terms, Claim calldata claim) external;

    function identity() external view returns (IIdentityRegistry);
    function staking() external view returns (IProviderStaking);
    function hashRequest(Request calldata request) external view returns (JobId);
    function hashOffer(Offer calldata offer) external view returns (bytes32);
    function balanceOf(address account, IERC20 token) external view returns (uint256);
    function replicaOf(JobId jobId, uint16 replica) external view returns (Replica memory);
}
