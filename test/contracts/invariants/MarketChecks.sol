// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lease, NodeUse} from "../../../contracts/market/IMarketDesk.sol";
import {ReplicaState, Request} from "../../../contracts/market/Orders.sol";
import {Stake} from "../../../contracts/staking/IProviderStaking.sol";
import {MarketHandler} from "./MarketHandler.sol";

/// @notice What must hold after any sequence of actions. One function per invariant of `test/INVARIANTS.md`.
contract MarketChecks is MarketHandler {
    /// @notice 1: what the market owes, and what was given to it, is what it has.
    function checkMarketSolvent() external view {
        uint256 owed = donated + _balance(_matcher) + _balance(_stranger) + _balance(_payer) + _balance(_arbiter);
        for (uint256 i = 0; i < 2; ++i) {
            owed += _balance(_requesters[i]);
        }
        for (uint256 i = 0; i < OPERATORS; ++i) {
            owed += _balance(_operators[i]);
        }
        for (uint256 i = 0; i < _everyKey.length; ++i) {
            owed += _balance(_everyKey[i]);
        }
        for (uint256 job = 0; job < _orders.length; ++job) {
            if (_stateOf(job, 0) == ReplicaState.Posted) owed += _orders[job].request.maxPrice;
            for (uint16 r = 0; r < _orders[job].request.replicas; ++r) {
                if (_open(job, r)) owed += _held(job, r);
                if (_stateOf(job, r) == ReplicaState.Disputed) owed += _orders[job].request.arbiterFee;
            }
        }
        _assertEq(_token.balanceOf(address(_market)), owed, "market");
    }

    /// @notice 2: what staking owes is what it has, and locked stake is the sum of open bonds.
    function checkStakingSolvent() external view {
        uint256 owed = _owed(SINK) + _owed(_payer) + _owed(_requesters[0]) + _owed(_requesters[1]) + _owed(_stranger);
        owed += _owed(_arbiter);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            Stake memory s = _staking.stakeOf(_operators[i], _token);
            owed += uint256(s.free) + s.locked + _staking.exitOf(_operators[i], _token).amount;
            uint256 bonds = 0;
            for (uint256 job = 0; job < _orders.length; ++job) {
                for (uint16 r = 0; r < _orders[job].request.replicas; ++r) {
                    bool backs = _open(job, r) && _runs[job][r].offer.operator == _operators[i];
                    if (backs) bonds += _orders[job].request.bond;
                }
            }
            _assertEq(s.locked, bonds, "locked stake and open bonds");
        }
        _assertEq(_token.balanceOf(address(_staking)), owed, "staking");
    }

    /// @notice 3: nothing forbidden ever succeeded, and no replica ended twice.
    function checkEndedOnce() external view {
        _assertEq(forbidden, 0, "forbidden actions that succeeded");
        for (uint256 job = 0; job < _orders.length; ++job) {
            for (uint16 r = 0; r < _orders[job].request.replicas; ++r) {
                ReplicaState state = _stateOf(job, r);
                _assertEq(_runs[job][r].ended, _isOver(state) ? 1 : 0, "times ended");
            }
        }
    }

    /// @notice 4: a payer never pays more than the price, an operator never loses more than the bond.
    function checkBoundedLoss() external view {
        for (uint256 job = 0; job < _orders.length; ++job) {
            Request storage request = _orders[job].request;
            _assertTrue(_orders[job].spent <= int256(uint256(request.maxPrice)), "the payer paid more than the price");
            for (uint16 r = 0; r < request.replicas; ++r) {
                _assertLe(_runs[job][r].lost, request.bond, "stake lost");
            }
        }
    }

    /// @notice 5: once enough time has passed, anybody ends everything, and nothing stays locked, held or in use.
    function leaveEverything() external {
        for (uint256 job = 0; job < _orders.length; ++job) {
            Request memory request = _orders[job].request;
            if (_stateOf(job, 0) == ReplicaState.Posted) {
                if (block.timestamp <= request.openUntil) VM.warp(uint256(request.openUntil) + 1);
                VM.startPrank(_stranger);
                _market.cancel(request);
                VM.stopPrank();
            }
            for (uint16 r = 0; r < request.replicas; ++r) {
                if (!_open(job, r)) continue;
                if (block.timestamp <= _deadline(job, r)) VM.warp(_deadline(job, r) + 1);
                if (_isLease(job)) _close(job, r, _stranger);
                else _finalize(job, r);
            }
        }
        for (uint256 i = 0; i < OPERATORS; ++i) {
            _assertEq(_staking.stakeOf(_operators[i], _token).locked, 0, "stake locked after the end");
            _assertEq(_market.useOf(_operators[i], 0).active, 0, "replicas in use after the end");
        }
    }

    /// @notice 6: a request opens at most once; opening a cancelled or expired one counts as forbidden.
    function checkOpenedOnce() external view {
        for (uint256 job = 0; job < _orders.length; ++job) {
            _assertLe(_orders[job].opened, 1, "times opened");
        }
    }

    /// @notice 7: a node's use is the sum of its active replicas, within what it signed and what its operator allows.
    function checkCapacity() external view {
        for (uint256 i = 0; i < OPERATORS; ++i) {
            NodeUse memory use = _market.useOf(_operators[i], 0);
            (uint256 active, uint256 cpuMilli, uint256 memoryMiB) = (0, 0, 0);
            for (uint256 job = 0; job < _orders.length; ++job) {
                Request storage request = _orders[job].request;
                for (uint16 r = 0; r < request.replicas; ++r) {
                    if (_stateOf(job, r) != ReplicaState.Active) continue;
                    if (_runs[job][r].offer.operator != _operators[i]) continue;
                    ++active;
                    cpuMilli += request.cpuMilli;
                    memoryMiB += request.memoryMiB;
                }
            }
            _assertEq(use.active, active, "replicas in use");
            _assertEq(use.cpuMilli, cpuMilli, "cpu in use");
            _assertEq(use.memoryMiB, memoryMiB, "memory in use");
            _assertLe(use.cpuMilli, NODE_CPU, "cpu in use");
            _assertLe(use.active, MAX_ACTIVE, "replicas in use");
        }
    }

    function _open(uint256 job, uint16 r) private view returns (bool) {
        ReplicaState state = _stateOf(job, r);
        return state == ReplicaState.Active || state == ReplicaState.Submitted || state == ReplicaState.Judging
            || state == ReplicaState.Disputed;
    }

    /// @dev What is held for the replica, worked out here anew: the deposit, a lease's top-ups, less what was claimed.
    function _held(uint256 job, uint16 r) private view returns (uint256) {
        uint256 base = _runs[job][r].offer.baseCharge;
        Lease memory lease = _market.leaseOf(_id(job), r);
        uint256 paidSeconds = uint256(_orders[job].request.maxSeconds) + lease.addedSeconds;
        uint256 held = base + (_rate(job, r) * paidSeconds + 1e18 - 1) / 1e18;
        bool claimed = _isLease(job) && _replica(job, r).lastAt != 0;
        return claimed ? held - base - _rate(job, r) * lease.chargedSeconds / 1e18 : held;
    }

    function _owed(address account) private view returns (uint256) {
        return _staking.owedTo(account, _token);
    }

    function _balance(address account) private view returns (uint256) {
        return _market.balanceOf(account, _token);
    }
}
