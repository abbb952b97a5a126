// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Mode, ReplicaState} from "../../../contracts/market/Orders.sol";
import {MatchHandler} from "./MatchHandler.sol";

/// @notice Leases after their match.
abstract contract LeaseHandler is MatchHandler {
    function claim(uint256 pick, uint256 replica) external {
        (uint256 job, uint16 r, bool found) = _any(pick, replica, ReplicaState.Active, Mode.Lease);
        if (!found || block.timestamp > _deadline(job, r)) return;
        _claim(job, r);
    }

    /// @notice Somebody else pays for more time, so that what the payer spends stays comparable with its price.
    function topUp(uint256 pick, uint256 replica, uint256 addedSeconds) external {
        (uint256 job, uint16 r, bool found) = _any(pick, replica, ReplicaState.Active, Mode.Lease);
        bool closing = found && _market.leaseOf(_id(job), r).closingAt != 0;
        if (!found || closing || block.timestamp > _deadline(job, r)) return;
        _topUp(job, r, uint32(_bound(addedSeconds, 1, 600)));
    }

    /// @notice Either side gives notice, or anybody ends what is over.
    function close(uint256 pick, uint256 replica) external {
        (uint256 job, uint16 r, bool found) = _any(pick, replica, ReplicaState.Active, Mode.Lease);
        if (!found) return;
        if (block.timestamp > _deadline(job, r)) return _close(job, r, _stranger);
        if (_market.leaseOf(_id(job), r).closingAt != 0) return;
        _close(job, r, pick % 2 == 0 ? _orders[job].request.requester : _runs[job][r].offer.operator);
    }

    function _claim(uint256 job, uint16 r) private acting(job, r, _runs[job][r].offer.operator, "claim") {
        _market.claim(_terms(job, r));
    }

    function _topUp(uint256 job, uint16 r, uint32 addedSeconds) private acting(job, r, _stranger, "top up") {
        _market.topUp(_terms(job, r), addedSeconds);
    }

    function _close(uint256 job, uint16 r, address who) internal acting(job, r, who, "close") {
        _market.close(_terms(job, r));
    }
}
