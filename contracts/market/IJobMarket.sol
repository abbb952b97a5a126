// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {IProviderStaking} from "../staking/IProviderStaking.sol";
import {Claim, JobId, NodeLimits, Offer, RefundReason, ReplicaState, Request, Terms} from "./Orders.sol";

/// @notice What the market remembers of a replica. One slot.
struct Replica {
    ReplicaState state;
    uint40 matchedAt; // unix seconds
    uint40 submittedAt; // unix seconds; 0 until Submitted
    bytes21 commitment; // first 168 bits of keccak256(abi.encode(jobId, replica, offerHash)); job id when Posted
}

/// @notice What a node has in use, and its epoch. One slot.
struct NodeUse {
    uint32 epoch;
    uint32 active; // replicas
    uint48 cpuMilli;
    uint48 memoryMiB;
    uint48 diskMiB;
    uint32 gpus;
    bool touched; // true from the first match on, so that the slot never returns to zero
}

/// @title The job market: escrow, matching and settlement
/// @notice Parties act at or before a deadline; permissionless exits open after it. Times are block timestamps.
/// A token must move exactly the amounts it is asked to; others are refused at the door. Nothing here has an owner.
interface IJobMarket {
    event Deposited(address indexed account, IERC20 indexed token, uint256 amount, address from);
    event Withdrawn(address indexed account, IERC20 indexed token, uint256 amount, address to);
    event RequestPosted(JobId indexed jobId, address indexed requester, Request request);
    event RequestCancelled(JobId indexed jobId, uint128 released);
    /// @notice A job was bound to all its offers. `spent` is the deposits plus the tip; `released` what a posted
    /// request had reserved beyond that.
    event JobMatched(
        JobId indexed jobId, address indexed requester, address matcher, uint128 spent, uint128 released, Request request
    );
    event ReplicaMatched(
        JobId indexed jobId, address indexed operator, uint16 replica, bytes32 offerHash, uint128 deposit, Offer offer
    );
    event ResultSubmitted(JobId indexed jobId, address indexed operator, uint16 replica, Claim claim);
    event ReplicaSettled(JobId indexed jobId, address indexed operator, uint16 replica, uint128 charge, uint128 refund);
    event ReplicaRefunded(
        JobId indexed jobId,
        address indexed operator,
        uint16 replica,
        uint128 refund,
        uint128 slashed,
        uint128 compensation,
        RefundReason reason
    );
    event EpochBumped(address indexed operator, uint32 indexed index, uint32 epoch);
    event NodeLimitsSet(address indexed operator, uint32 indexed index, bytes32 limitsHash, NodeLimits limits);

    error ZeroAmount();
    error WrongAmountReceived(IERC20 token, uint256 expected, uint256 received);
    error BalanceTooLow(address account, IERC20 token, uint256 balance, uint256 needed);
    error NotController(address account, address caller);
    error WrongState(JobId jobId, uint16 replica, ReplicaState state, ReplicaState needed);
    error BadRequestSignature(JobId jobId, address requester);
    error BadPayerSignature(JobId jobId, address payer);
    error BadOfferSignature(bytes32 offerHash, address key);
    error RequestExpired(JobId jobId, uint40 openUntil);
    error RequestStillOpen(JobId jobId, uint40 openUntil);
    error BadRequest(JobId jobId, bytes32 field);
    error OfferExpired(bytes32 offerHash, uint40 expiresAt);
    error OfferMismatch(bytes32 offerHash, bytes32 field);
    error WrongEpoch(bytes32 offerHash, uint32 epoch, uint32 current);
    error WrongOfferCount(JobId jobId, uint256 offers, uint16 replicas);
    error OperatorTwice(JobId jobId, address operator);
    error OperatorDeactivated(address operator);
    error KeyExpiresTooSoon(address operator, uint32 index, uint40 validTo, uint40 needed);
    error LimitsUnknown(address operator, uint32 index);
    error LimitExceeded(address operator, uint32 index, bytes32 field);
    error CapacityExceeded(address operator, uint32 index, bytes32 field, uint256 available, uint256 needed);
    error PriceAboveCap(JobId jobId, uint256 price, uint128 maxPrice);
    error NotMatcher(JobId jobId, address caller, address matcher);
    error NotNode(address operator, uint32 index, address caller);
    error NotRequester(JobId jobId, address caller);
    error WrongTerms(JobId jobId, uint16 replica);
    error WrongClaim(JobId jobId, uint16 replica);
    error WindowClosed(JobId jobId, uint16 replica, uint40 closedAt);
    error WindowOpen(JobId jobId, uint16 replica, uint40 closesAt);
    error ChargeTooHigh(JobId jobId, uint16 replica, uint128 charge, uint128 most);
    error EmptyResult(JobId jobId, uint16 replica);

    /// @notice Adds token units to the balance of `account`, taken from the caller.
    /// @custom:reverts ZeroAmount; WrongAmountReceived when the token moved another amount
    /// @custom:emits Deposited
    function deposit(address account, IERC20 token, uint256 amount) external;

    /// @notice `deposit` with an ERC-2612 permit of the caller. A permit that was already used is no error.
    function depositWithPermit(
        address account, IERC20 token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s
    ) external;

    /// @notice Pays `amount` of the balance of `account` to `to`. The caller controls `account`
    /// (IIdentityRegistry.controllerOf).
    /// @custom:reverts NotController, ZeroAmount, BalanceTooLow
    /// @custom:emits Withdrawn
    function withdraw(address account, IERC20 token, uint256 amount, address to) external;

    /// @notice Puts a request on chain and reserves its `maxPrice` from the payer's balance.
    /// @param requesterSignature by who controls the requester's identity; not needed when that is the caller
    /// @param payerSignature likewise for the payer; not needed when the payer is the requester
    /// @custom:reverts BadRequestSignature, BadPayerSignature, RequestExpired, BadRequest, WrongState, BalanceTooLow
    /// @custom:emits RequestPosted
    function post(Request calldata request, bytes calldata requesterSignature, bytes calldata payerSignature)
        external
        returns (JobId jobId);

    /// @notice Ends a request that was not matched: by its requester at any time, by anyone after `openUntil` when it is
    /// posted. The reserve returns to the payer. A signed request can be cancelled before anybody posts it.
    /// @custom:reverts NotRequester or RequestStillOpen, WrongState
    /// @custom:emits RequestCancelled
    function cancel(Request calldata request) external;

    /// @notice Binds a signed or posted request to one offer per replica, all or nothing. Anyone may call unless the
    /// request names a matcher. Everything is checked here again; the requester pays the offers' prices.
    /// @param limits of each offer's node, as last set
    /// @custom:reverts any error above that names the request, an offer, a node's limits or its capacity
    /// @custom:emits JobMatched, ReplicaMatched for each
    function matchJob(
        Request calldata request,
        bytes calldata requesterSignature,
        bytes calldata payerSignature,
        Offer[] calldata offers,
        bytes[] calldata offerSignatures,
        NodeLimits[] calldata limits
    ) external returns (JobId jobId);

    /// @notice A node takes a posted request for one replica itself. The caller is the node's current key.
    /// @custom:emits JobMatched, ReplicaMatched
    function accept(Request calldata request, Offer calldata offer, NodeLimits calldata limits)
        external
        returns (JobId jobId);

    /// @notice The node gives a replica back inside the accept window: full refund, no slash.
    /// @custom:reverts NotNode, WrongState, WrongTerms, WindowClosed
    /// @custom:emits ReplicaRefunded
    function decline(Terms calldata terms) external;

    /// @notice The node's current key, or its operator's controller, posts a result inside the submit window.
    /// @custom:reverts NotNode, WrongState, WrongTerms, WindowClosed, ChargeTooHigh, EmptyResult
    /// @custom:emits ResultSubmitted
    function submit(Terms calldata terms, Claim calldata claim) external;

    /// @notice The requester takes a result early: pays now.
    /// @custom:reverts NotRequester, WrongState, WrongTerms, WrongClaim
    /// @custom:emits ReplicaSettled
    function approve(Terms calldata terms, Claim calldata claim) external;

    /// @notice Anyone ends a replica whose time is up: a result that nobody disputed is paid once the challenge window
    /// has passed; a replica without a result after the submit window is refunded and its bond slashed.
    /// @param claim as submitted; all zero when there is no result
    /// @custom:reverts WrongState, WrongTerms, WrongClaim, WindowOpen
    /// @custom:emits ReplicaSettled or ReplicaRefunded
    function finalize(Terms calldata terms, Claim calldata claim) external;

    /// @notice Kills every outstanding offer of a node. By its key or its operator's controller. Does not reset use.
    /// @custom:emits EpochBumped
    function bumpEpoch(address operator, uint32 index) external;

    /// @notice Sets what a node may commit to. Only the operator's controller: a hot key cannot move stake.
    /// @custom:reverts NotController
    /// @custom:emits NodeLimitsSet
    function setNodeLimits(address operator, uint32 index, NodeLimits calldata limits) external;

    function identity() external view returns (IIdentityRegistry);
    function staking() external view returns (IProviderStaking);
    function hashRequest(Request calldata request) external view returns (JobId);
    function hashOffer(Offer calldata offer) external view returns (bytes32);
    function balanceOf(address account, IERC20 token) external view returns (uint256);
    function replicaOf(JobId jobId, uint16 replica) external view returns (Replica memory);
    /// @notice keccak256(abi.encode(claim)) of the submitted claim; zero before.
    function resultOf(JobId jobId, uint16 replica) external view returns (bytes32);
    function useOf(address operator, uint32 index) external view returns (NodeUse memory);
    function limitsHashOf(address operator, uint32 index) external view returns (bytes32);
}
