// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Replica} from "../../../contracts/market/IMarketFloor.sol";
import {Lease} from "../../../contracts/market/IMarketDesk.sol";
import {
    Assignment,
    Claim,
    Job,
    JobId,
    Mode,
    Offer,
    ReplicaState,
    Request,
    Terms
} from "../../../contracts/market/Orders.sol";
import {Stake} from "../../../contracts/staking/IProviderStaking.sol";
import {MarketWorld} from "./MarketWorld.sol";

/// @notice What the actions remember of what they did, and how they find something to do.
abstract contract MarketMemory is MarketWorld {
    /// @dev What is known of one request.
    struct Order {
        Request request;
        uint256 opened; // times that it became a job
        int256 spent; // token units that left the payer's balance, less what came back
    }

    /// @dev What is known of one replica.
    struct Run {
        Offer offer;
        Claim claim;
        uint256 ended; // times that it entered a terminal state
        uint256 lost; // token units of stake that its operator lost
    }

    Order[] internal _orders;
    mapping(uint256 job => mapping(uint16 replica => Run)) internal _runs;
    uint256 public donated; // token units given to the market without a deposit
    uint256 public forbidden; // times that something forbidden succeeded
    mapping(string action => uint256) public done;

    /// @dev Does something with the replica as `who` and books what it cost: payer and stake.
    modifier acting(uint256 job, uint16 r, address who, string memory action) {
        address operator = _runs[job][r].offer.operator;
        (uint256 before, uint256 stakeBefore) = (_payerBalance(job), _stakeSum(operator));
        VM.startPrank(who);
        _;
        VM.stopPrank();
        _runs[job][r].lost += stakeBefore - _stakeSum(operator);
        if (_isOver(_stateOf(job, r))) ++_runs[job][r].ended;
        _count(job, before, action);
    }

    function _isOver(ReplicaState state) internal pure returns (bool) {
        return state == ReplicaState.Settled || state == ReplicaState.Refunded;
    }

    /// @dev Books what the action cost the payer. A requester who matches for itself gets the tip back: not counted.
    function _count(uint256 job, uint256 before, string memory action) internal {
        _orders[job].spent += int256(before) - int256(_payerBalance(job));
        ++done[action];
    }

    function _payerBalance(uint256 job) internal view returns (uint256) {
        return _market.balanceOf(_orders[job].request.payer, _token);
    }

    function _stakeSum(address operator) internal view returns (uint256) {
        Stake memory s = _staking.stakeOf(operator, _token);
        return uint256(s.free) + s.locked;
    }

    function _anyJob(uint256 pick) internal view returns (uint256 job, bool found) {
        return _orders.length == 0 ? (0, false) : (pick % _orders.length, true);
    }

    /// @dev The first replica of a job of that kind in `state`, from a random one on.
    function _any(uint256 pick, uint256 replica, ReplicaState state, Mode mode)
        internal
        view
        returns (uint256 job, uint16 r, bool found)
    {
        for (uint256 i = 0; i < _orders.length; ++i) {
            job = (pick % _orders.length + i) % _orders.length;
            if (_orders[job].request.mode != mode) continue;
            for (uint16 j = 0; j < _orders[job].request.replicas; ++j) {
                r = uint16((replica % 2 + j) % _orders[job].request.replicas);
                if (_stateOf(job, r) == state) return (job, r, true);
            }
        }
    }

    function _anyPosted(uint256 pick) internal view returns (uint256 job, bool found) {
        (job,, found) = _any(pick, 0, ReplicaState.Posted, Mode(pick % 2));
        if (!found) (job,, found) = _any(pick, 0, ReplicaState.Posted, Mode(1 - pick % 2));
    }

    function _isLease(uint256 job) internal view returns (bool) {
        return _orders[job].request.mode == Mode.Lease;
    }

    /// @dev The last second before anybody may end the replica, if nothing happens before.
    function _deadline(uint256 job, uint16 r) internal view returns (uint256) {
        Replica memory seen = _replica(job, r);
        Request storage request = _orders[job].request;
        if (seen.state == ReplicaState.Submitted) return uint256(seen.lastAt) + request.challengeWindow;
        if (seen.state == ReplicaState.Disputed) return uint256(seen.lastAt) + request.arbiterWindow;
        if (seen.state == ReplicaState.Judging) {
            return uint256(seen.lastAt) + request.challengeWindow + request.arbiterWindow;
        }
        if (!_isLease(job)) return uint256(seen.matchedAt) + request.submitWindow;
        Lease memory lease = _market.leaseOf(_id(job), r);
        uint256 end = _since(seen) + _leftSeconds(job, r);
        uint256 patience = _since(seen) + 2 * uint256(request.heartbeatSeconds);
        if (patience < end) end = patience;
        return lease.closingAt == 0 || end < lease.closingAt ? end : lease.closingAt;
    }

    /// @dev Seconds that a lease's money still pays for.
    function _leftSeconds(uint256 job, uint16 r) internal view returns (uint256) {
        Lease memory lease = _market.leaseOf(_id(job), r);
        return uint256(_orders[job].request.maxSeconds) + lease.addedSeconds - lease.chargedSeconds;
    }

    function _since(Replica memory seen) internal pure returns (uint256) {
        return seen.lastAt == 0 ? seen.matchedAt : seen.lastAt;
    }

    /// @dev The terms, put together here anew.
    function _terms(uint256 job, uint16 r) internal view returns (Terms memory terms) {
        Request memory q = _orders[job].request;
        Offer memory offer = _runs[job][r].offer;
        Job memory j = terms.job;
        (j.jobId, j.requester, j.payer, j.token) = (_id(job), q.requester, q.payer, q.token);
        (j.specHash, j.mode, j.replicas) = (q.specHash, q.mode, q.replicas);
        (j.cpuMilli, j.memoryMiB, j.diskMiB, j.gpus) = (q.cpuMilli, q.memoryMiB, q.diskMiB, q.gpus);
        (j.maxSeconds, j.acceptWindow, j.submitWindow) = (q.maxSeconds, q.acceptWindow, q.submitWindow);
        (j.challengeWindow, j.heartbeatSeconds, j.noticeSeconds) =
            (q.challengeWindow, q.heartbeatSeconds, q.noticeSeconds);
        (j.verifier, j.verifierData, j.arbiter, j.arbiterData) =
            (q.verifier, q.verifierData, q.arbiter, q.arbiterData);
        (j.arbiterFee, j.arbiterWindow, j.bond) = (q.arbiterFee, q.arbiterWindow, q.bond);
        (j.bounty, j.compensationBps) = (q.bounty, q.compensationBps);
        bytes32 offerHash = _market.hashOffer(offer);
        terms.assignment = Assignment(r, offer.operator, offer.index, offerHash, _rate(job, r), offer.baseCharge);
    }

    function _rate(uint256 job, uint16 r) internal view returns (uint256) {
        Request storage request = _orders[job].request;
        Offer storage offer = _runs[job][r].offer;
        return uint256(request.cpuMilli) * offer.cpuRateX18 + uint256(request.memoryMiB) * offer.memoryRateX18;
    }

    function _id(uint256 job) internal view returns (JobId) {
        return _market.hashRequest(_orders[job].request);
    }

    function _replica(uint256 job, uint16 r) internal view returns (Replica memory) {
        return _market.replicaOf(_id(job), r);
    }

    function _stateOf(uint256 job, uint16 r) internal view returns (ReplicaState) {
        return _replica(job, r).state;
    }
}
