// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Claim, JobId, NodeLimits, Request, Terms} from "./Orders.sol";

/// @notice What a node has in use, and its epoch. One slot.
struct NodeUse {
    uint32 epoch;
    uint16 active; // replicas
    uint40 cpuMilli;
    uint40 memoryMiB;
    uint40 diskMiB;
    uint24 gpus;
    uint40 declinedAt; // unix seconds of the last free decline
    bool touched; // true from the first match on, so that the slot never returns to zero
}

/// @notice What the market remembers of a lease beyond its replica. One slot, written when there is something to remember.
struct Lease {
    uint40 chargedSeconds; // paid for
    uint40 addedSeconds; // topped up
    uint40 closingAt; // unix seconds; 0 while nobody gave notice
}

/// @notice Money in and out, what only some jobs go through, and what people do around jobs.
interface IMarketDesk {
    /// @notice Adds token units to the balance of `account`, taken from the caller.
    /// @custom:reverts ZeroAmount; ExactTransfer's errors when the token moved another amount
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

    /// @notice The node gives a replica back inside the accept window: full refund. A lease's first claim ends that window. One decline an hour is free, another costs
    /// a hundredth of the deposit out of the bond, which goes to the sink.
    /// @param sibling another replica of the job that was refunded: then the gang is broken and leaving is free, also after the
    /// accept window while results still count. The replica itself: none.
    /// @custom:reverts NotNode, WrongState, WrongTerms, WindowClosed
    /// @custom:emits ReplicaRefunded
    function decline(Terms calldata terms, uint16 sibling) external;

    /// @notice The requester contests a result inside the challenge window. Its balance pays the arbiter's fee in advance.
    /// @custom:reverts NotRequester, NotArbiter when the orders name none, WrongState, WrongClaim, WindowClosed, BalanceTooLow
    /// @custom:emits ReplicaDisputed
    function dispute(Terms calldata terms, Claim calldata claimed) external;

    /// @notice The arbiter ends a dispute inside its window. Who loses pays its fee: the requester when the whole charge is
    /// awarded, else the provider, whose bond is slashed in proportion to what was denied.
    /// @param award token units for the operator, at most the claimed charge
    /// @custom:reverts NotArbiter, WrongState, WrongClaim, WindowClosed, AwardTooHigh
    /// @custom:emits ReplicaRuled, ReplicaSettled
    function rule(Terms calldata terms, Claim calldata claimed, uint128 award) external;

    /// @notice Pays a node what its lease earned since the last claim, at most one heartbeat of it.
    /// @custom:reverts NotNode, WrongMode, WrongState, WrongTerms, LeaseOver
    /// @custom:emits LeaseClaimed
    function claim(Terms calldata terms) external;

    /// @notice Pays for more seconds of a lease out of the caller's balance. Anyone may; refunds go to the payer.
    /// @custom:reverts WrongMode, WrongState, WrongTerms, LeaseOver, LeaseTooLong, AlreadyClosing, ZeroAmount, NotController when the
    /// caller's identity has another owner, BalanceTooLow
    /// @custom:emits LeaseToppedUp
    function topUp(Terms calldata terms, uint32 addedSeconds) external;

    /// @notice Ends a lease. Either side gives notice, and the lease ends when it has run out; without a notice period at once.
    /// Anyone ends a lease whose notice has run out, whose deposit is used up, or whose node was silent for two
    /// heartbeats, which costs the node its bond unless notice was given.
    /// @custom:reverts WrongMode, WrongState, WrongTerms, NotParty, AlreadyClosing
    /// @custom:emits LeaseClosing, or ReplicaSettled
    function close(Terms calldata terms) external;

    /// @notice Many matches in one transaction. One that fails changes nothing and leaves its reason in an event.
    /// @param matches arguments of `matchJob`, each ABI-encoded
    /// @param itemGas gas that each gets; less than that left reverts the whole, so that no caller can starve an item
    /// @return done which ones succeeded
    /// @custom:emits ItemFailed
    function matchMany(bytes[] calldata matches, uint256 itemGas) external returns (bool[] memory done);

    /// @notice Many settlements in one transaction, like `matchMany`.
    /// @param settlements arguments of `finalize`, each ABI-encoded
    function finalizeMany(bytes[] calldata settlements, uint256 itemGas) external returns (bool[] memory done);

    /// @notice Kills every outstanding offer of a node. By its key or its operator's controller. Does not reset use.
    /// @custom:emits EpochBumped
    function bumpEpoch(address operator, uint32 index) external;

    /// @notice Sets what a node may commit to. Only the operator's controller: a hot key cannot move stake.
    /// @custom:reverts NotController
    /// @custom:emits NodeLimitsSet
    function setNodeLimits(address operator, uint32 index, NodeLimits calldata limits) external;

    /// @notice Says which tokens, verifiers and arbiters the operator's nodes may sign for. No verifier and no arbiter (zero) are
    /// always accepted. Only the operator's controller.
    /// @custom:reverts NotController
    /// @custom:emits AcceptanceSet for each
    function setAccepted(address operator, address[] calldata what, bool accepted) external;

    /// @notice Stops or lets through new jobs (`post`, `matchJob`, `accept`). Nothing else is ever stopped. Guardian only.
    /// @custom:reverts NotGuardian
    /// @custom:emits NewJobsPausedSet
    function setPaused(bool paused_) external;

    /// @notice Hands the guardian's only right on; to zero for good. Guardian only.
    /// @custom:reverts NotGuardian
    /// @custom:emits GuardianChanged
    function setGuardian(address guardian_) external;

    function guardian() external view returns (address);
    function paused() external view returns (bool);
    function useOf(address operator, uint32 index) external view returns (NodeUse memory);
    function limitsOf(address operator, uint32 index) external view returns (NodeLimits memory);
    function accepts(address operator, address what) external view returns (bool);
    function leaseOf(JobId jobId, uint16 replica) external view returns (Lease memory);
}
