// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Assignment, Claim, Job, JobId, NodeLimits, RefundReason, Request} from "./Orders.sol";

/// @notice What happened in the market. The events alone rebuild its storage.
interface IMarketEvents {
    event Deposited(address indexed account, IERC20 indexed token, uint256 amount, address from);
    event Withdrawn(address indexed account, IERC20 indexed token, uint256 amount, address to);
    event RequestPosted(JobId indexed jobId, address indexed requester, Request request);
    event RequestCancelled(JobId indexed jobId, uint128 released);
    /// @notice A job was bound to all its offers. `spent` is the deposits plus the tip, which the matcher got; `released` what a
    /// posted request had reserved beyond that. With `ReplicaMatched` it gives the terms of each replica.
    event JobMatched(
        JobId indexed jobId, address indexed requester, address matcher, uint128 spent, uint128 released, uint128 tip, Job job
    );
    event ReplicaMatched(JobId indexed jobId, address indexed operator, Assignment assignment);
    /// @param judging true while the verifier has not said that the result stands
    event ResultSubmitted(
        JobId indexed jobId, address indexed operator, uint16 replica, bool judging, Claim claim
    );
    event ReplicaDisputed(JobId indexed jobId, address indexed requester, uint16 replica, uint128 fee);
    event ReplicaRuled(JobId indexed jobId, address indexed arbiter, uint16 replica, uint128 award, uint128 fault);
    event ReplicaSettled(JobId indexed jobId, address indexed operator, uint16 replica, uint256 charge, uint256 refund);
    /// @param slashed token units taken from the operator's bond
    event ReplicaRefunded(
        JobId indexed jobId,
        address indexed operator,
        uint16 replica,
        uint256 refund,
        uint128 slashed,
        RefundReason reason
    );
    event LeaseClaimed(
        JobId indexed jobId, address indexed operator, uint16 replica, uint40 chargedSeconds, uint256 paid
    );
    event LeaseToppedUp(
        JobId indexed jobId, address indexed from, uint16 replica, uint32 addedSeconds, uint256 amount
    );
    event LeaseClosing(JobId indexed jobId, address indexed by, uint16 replica, uint40 closingAt);
    event EpochBumped(address indexed operator, uint32 indexed index, uint32 epoch);
    event NodeLimitsSet(address indexed operator, uint32 indexed index, NodeLimits limits);
    /// @param what a token, verifier or arbiter
    event AcceptanceSet(address indexed operator, address indexed what, bool accepted);
    event ItemFailed(uint256 indexed item, bytes reason);
    event NewJobsPausedSet(bool paused);
    event GuardianChanged(address guardian);
}
