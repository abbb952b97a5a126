// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarketDesk} from "../IMarketDesk.sol";
import {Replica} from "../IMarketFloor.sol";
import {OrderHash} from "../libraries/OrderHash.sol";
import {OrderWords} from "../libraries/OrderWords.sol";
import {Pricing} from "../libraries/Pricing.sol";
import {MarketState} from "../MarketState.sol";
import {JobId, Mode, RefundReason, ReplicaState, Request, Terms} from "../Orders.sol";

/// @notice Requests that are put on chain, and the ways out before work begins.
abstract contract Requests is IMarketDesk, MarketState {
    uint256 private constant FREE_DECLINE_EVERY = 1 hours;

    /// @inheritdoc IMarketDesk
    function post(Request calldata order, bytes calldata requesterSignature, bytes calldata payerSignature)
        external
        returns (JobId jobId)
    {
        Request memory request = OrderWords.read(order);
        jobId = _hashRequest(request);
        _requireState(jobId, 0, _replicas[jobId][0].state, ReplicaState.None);
        _requireAuthorized(request, jobId, requesterSignature, payerSignature);
        _requireNew(request, jobId);

        _replicas[jobId][0] = Replica(ReplicaState.Posted, 0, 0, OrderHash.commitment(JobId.unwrap(jobId)));
        _debit(request.payer, request.token, request.maxPrice);
        emit RequestPosted(jobId, request.requester, request);
    }

    /// @inheritdoc IMarketDesk
    function cancel(Request calldata order) external {
        Request memory request = OrderWords.read(order);
        JobId jobId = _hashRequest(request);
        ReplicaState state = _replicas[jobId][0].state;
        bool posted = state == ReplicaState.Posted;
        if (!posted && state != ReplicaState.None) revert WrongState(jobId, 0, state, ReplicaState.Posted);
        if (!_controls(request.requester)) {
            if (!posted) revert NotRequester(jobId, msg.sender);
            if (block.timestamp <= request.openUntil) revert RequestStillOpen(jobId, request.openUntil);
        }

        _replicas[jobId][0].state = ReplicaState.Cancelled;
        uint128 released = posted ? request.maxPrice : 0;
        _credit(request.payer, request.token, released);
        emit RequestCancelled(jobId, released);
    }

    /// @inheritdoc IMarketDesk
    function decline(Terms calldata agreed, uint16 sibling) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica) = _active(terms);
        _requireNode(terms.assignment.operator, terms.assignment.index);
        // A first claim takes a lease on for good: what it paid could not be refunded.
        if (replica.lastAt != 0) revert WindowClosed(jobId, index, replica.lastAt);
        bool broken = _replicas[jobId][sibling].state == ReplicaState.Refunded;
        _requireOpen(jobId, index, replica.matchedAt + _declineWindow(terms, broken));
        uint256 deposited = _heldOf(terms, _leases[jobId][index].addedSeconds);
        uint128 fee = broken ? 0 : _declineFee(terms, deposited);

        replica.state = ReplicaState.Refunded;
        _replicas[jobId][index] = replica;
        _vacate(terms);
        _refund(terms, deposited, fee, broken ? RefundReason.Left : RefundReason.Declined);
        if (fee == 0) _unlockBond(terms);
        else _slash(terms, fee, address(0), 0, address(0), 0);
    }

    /// @dev A gang that lost a member may leave while results count; a lease, until its silence would cost it the bond.
    function _declineWindow(Terms memory terms, bool broken) private pure returns (uint32) {
        if (!broken) return terms.job.acceptWindow;
        return terms.job.mode == Mode.Batch ? terms.job.submitWindow : terms.job.heartbeatSeconds;
    }

    /// @dev The first decline of an hour is free and starts the hour.
    function _declineFee(Terms memory terms, uint256 deposited) private returns (uint128) {
        (address operator, uint32 index) = (terms.assignment.operator, terms.assignment.index);
        uint40 declinedAt = _uses[operator][index].declinedAt;
        if (declinedAt != 0 && block.timestamp < declinedAt + FREE_DECLINE_EVERY) {
            // Fits in 128 bits: at most the bond.
            return uint128(Pricing.declineFeeDown(terms.job, deposited));
        }
        _uses[operator][index].declinedAt = uint40(block.timestamp);
        return 0;
    }
}
