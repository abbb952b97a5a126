// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarketDesk, Lease} from "../IMarketDesk.sol";
import {Replica} from "../IMarketFloor.sol";
import {OrderWords} from "../libraries/OrderWords.sol";
import {Pricing} from "../libraries/Pricing.sol";
import {MarketState} from "../MarketState.sol";
import {Assignment, JobId, Mode, ReplicaState, Terms} from "../Orders.sol";

/// @notice Leases: paid by the second out of the deposit until somebody ends them. All sums are counted in seconds and turned into
/// money once, so that many claims pay what one would.
abstract contract Leases is IMarketDesk, MarketState {
    /// @inheritdoc IMarketDesk
    function claim(Terms calldata agreed) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica, Lease memory lease) = _leaseOf(terms);
        _requireNode(terms.assignment.operator, terms.assignment.index);
        if (_isOver(terms, replica, lease)) revert LeaseOver(jobId, index);
        uint40 charged = _chargedSeconds(terms, replica, lease);
        uint256 paid = _earned(terms, charged) - _paidOut(terms, replica, lease);

        lease.chargedSeconds = charged;
        _leases[jobId][index] = lease;
        replica.lastAt = uint40(block.timestamp);
        _replicas[jobId][index] = replica;
        _credit(terms.assignment.operator, terms.job.token, paid);
        emit LeaseClaimed(jobId, terms.assignment.operator, index, charged, paid);
    }

    /// @inheritdoc IMarketDesk
    function topUp(Terms calldata agreed, uint32 addedSeconds) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica, Lease memory lease) = _leaseOf(terms);
        if (addedSeconds == 0) revert ZeroAmount();
        if (_isOver(terms, replica, lease)) revert LeaseOver(jobId, index);
        if (lease.closingAt != 0) revert AlreadyClosing(jobId, index, lease.closingAt);
        // An account whose owner was changed spends nothing by its old key.
        if (!_controls(msg.sender)) revert NotController(msg.sender, msg.sender);
        uint256 held = _heldOf(terms, lease.addedSeconds);
        uint256 total = _paidSeconds(terms, lease) + addedSeconds;
        if (total > type(uint32).max) revert LeaseTooLong(jobId, index, total);

        lease.addedSeconds += addedSeconds;
        uint256 amount = _heldOf(terms, lease.addedSeconds) - held;
        _leases[jobId][index] = lease;
        _debit(msg.sender, terms.job.token, amount);
        emit LeaseToppedUp(jobId, msg.sender, index, addedSeconds, amount);
    }

    /// @inheritdoc IMarketDesk
    function close(Terms calldata agreed) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica, Lease memory lease) = _leaseOf(terms);
        if (_isOver(terms, replica, lease)) return _end(terms, replica, lease);
        if (!_isParty(terms)) revert NotParty(jobId, msg.sender);
        if (lease.closingAt != 0) revert AlreadyClosing(jobId, index, lease.closingAt);
        if (terms.job.noticeSeconds == 0) return _end(terms, replica, lease);

        lease.closingAt = uint40(block.timestamp) + terms.job.noticeSeconds;
        _leases[jobId][index] = lease;
        emit LeaseClosing(jobId, msg.sender, index, lease.closingAt);
    }

    /// @inheritdoc IMarketDesk
    function leaseOf(JobId jobId, uint16 replica) external view returns (Lease memory) {
        return _leases[jobId][replica];
    }

    function _end(Terms memory terms, Replica memory replica, Lease memory lease) private {
        bool silent = _isSilent(terms, replica, lease);
        uint256 earned = _earned(terms, _chargedSeconds(terms, replica, lease));
        uint256 paidOut = _paidOut(terms, replica, lease);
        uint256 held = _heldOf(terms, lease.addedSeconds);

        replica.state = ReplicaState.Settled;
        _replicas[terms.job.jobId][terms.assignment.replica] = replica;
        _vacate(terms);
        _pay(terms, held - paidOut, earned - paidOut);
        if (silent) _slashForSilence(terms, _depositOf(terms));
        else _unlockBond(terms);
    }

    function _leaseOf(Terms memory terms)
        private
        view
        returns (JobId jobId, uint16 index, Replica memory replica, Lease memory lease)
    {
        (jobId, index, replica) = _active(terms);
        _requireMode(terms, Mode.Lease);
        lease = _leases[jobId][index];
    }

    function _isParty(Terms memory terms) private view returns (bool) {
        Assignment memory by = terms.assignment;
        if (_controls(terms.job.requester) || _controls(terms.job.payer)) return true;
        return _IDENTITY.mayAct(by.operator, by.index, msg.sender);
    }

    /// @dev Its notice has run out, its deposit is used up, or its node fell silent.
    function _isOver(Terms memory terms, Replica memory replica, Lease memory lease) private view returns (bool) {
        if (lease.closingAt != 0 && block.timestamp > lease.closingAt) return true;
        uint256 left = _paidSeconds(terms, lease) - lease.chargedSeconds;
        uint256 patience = _patience(terms);
        return block.timestamp > _since(replica) + (left < patience ? left : patience);
    }

    /// @dev Silence costs the bond while the deposit would have paid for two heartbeats and nobody had given notice.
    function _isSilent(Terms memory terms, Replica memory replica, Lease memory lease) private view returns (bool) {
        uint256 patience = _patience(terms);
        if (lease.closingAt != 0 || _paidSeconds(terms, lease) - lease.chargedSeconds < patience) return false;
        return block.timestamp > _since(replica) + patience;
    }

    /// @dev Seconds paid for so far and now: at most a heartbeat past the last claim, and never past notice or deposit.
    function _chargedSeconds(Terms memory terms, Replica memory replica, Lease memory lease)
        private
        view
        returns (uint40)
    {
        uint256 end = block.timestamp;
        if (lease.closingAt != 0 && end > lease.closingAt) end = lease.closingAt;
        uint256 elapsed = end > _since(replica) ? end - _since(replica) : 0;
        if (elapsed > terms.job.heartbeatSeconds) elapsed = terms.job.heartbeatSeconds;
        uint256 charged = lease.chargedSeconds + elapsed;
        uint256 most = _paidSeconds(terms, lease);
        // Fits in 40 bits: top-ups keep the paid seconds within 32.
        return uint40(charged < most ? charged : most);
    }

    /// @dev Two heartbeats without a claim are an end.
    function _patience(Terms memory terms) private pure returns (uint256) {
        return 2 * uint256(terms.job.heartbeatSeconds);
    }

    function _since(Replica memory replica) private pure returns (uint256) {
        return replica.lastAt == 0 ? replica.matchedAt : replica.lastAt;
    }

    function _paidSeconds(Terms memory terms, Lease memory lease) private pure returns (uint256) {
        return uint256(terms.job.maxSeconds) + lease.addedSeconds;
    }

    function _earned(Terms memory terms, uint256 chargedSeconds) private pure returns (uint256) {
        return Pricing.chargeDown(terms.assignment.rateX18, terms.assignment.baseCharge, chargedSeconds);
    }

    /// @dev What claims have paid: nothing before the first, the base charge included from then on.
    function _paidOut(Terms memory terms, Replica memory replica, Lease memory lease) private pure returns (uint256) {
        return replica.lastAt == 0 ? 0 : _earned(terms, lease.chargedSeconds);
    }
}
