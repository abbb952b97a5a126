// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Exit} from "../../../contracts/staking/IProviderStaking.sol";
import {MarketMemory} from "./MarketMemory.sol";

/// @notice What people do around jobs: money, stake, keys, time.
abstract contract PeopleHandler is MarketMemory {
    function deposit(uint256 who, uint256 amount) external {
        _addMoney(_anyPayer(who), _bound(amount, 1, 1e9));
    }

    function withdraw(uint256 who, uint256 amount) external {
        address account = _anyPayer(who);
        uint256 balance = _market.balanceOf(account, _token);
        if (balance == 0) return;
        VM.startPrank(account);
        _market.withdraw(account, _token, _bound(amount, 1, balance), account);
        VM.stopPrank();
    }

    function donate(uint256 amount) external {
        amount = _bound(amount, 1, 1000);
        donated += amount;
        _token.mint(address(_market), amount);
    }

    function stake(uint256 operator, uint256 amount) external {
        _addStake(_operators[operator % OPERATORS], uint128(_bound(amount, 1, 100_000)));
    }

    function requestExit(uint256 operator, uint256 amount) external {
        address who = _operators[operator % OPERATORS];
        uint128 free = _staking.stakeOf(who, _token).free;
        if (free == 0) return;
        VM.startPrank(who);
        _staking.requestExit(who, _token, uint128(_bound(amount, 1, free)));
        VM.stopPrank();
    }

    function exit(uint256 operator, bool cancels) external {
        address who = _operators[operator % OPERATORS];
        Exit memory leaving = _staking.exitOf(who, _token);
        if (leaving.amount == 0 || (!cancels && block.timestamp < leaving.readyAt)) return;
        VM.startPrank(who);
        if (cancels) _staking.cancelExit(who, _token);
        else _staking.exit(who, _token, who);
        VM.stopPrank();
    }

    function collect(uint256 who) external {
        address[5] memory people = [SINK, _payer, _requesters[0], _requesters[1], _stranger];
        address account = people[who % 5];
        if (_staking.owedTo(account, _token) == 0) return;
        VM.startPrank(account);
        _staking.collect(account, _token, account);
        VM.stopPrank();
        ++done["collect"];
    }

    function bumpEpoch(uint256 operator) external {
        address who = _operators[operator % OPERATORS];
        VM.startPrank(who);
        _market.bumpEpoch(who, 0);
        VM.stopPrank();
    }

    /// @notice A node gets another key. Jobs that run go on.
    function rotate(uint256 operator) external {
        operator %= OPERATORS;
        if (_identity.deactivated(_operators[operator])) return;
        _keys[operator] = uint256(keccak256(abi.encode(_keys[operator]))) >> 8;
        _publish(operator);
        ++done["rotate"];
    }

    /// @notice An operator leaves for good, now and then. Jobs that run must end all the same.
    function deactivate(uint256 pick) external {
        address who = _operators[2];
        if (pick % 64 != 0 || _identity.deactivated(who)) return;
        VM.startPrank(who);
        _identity.changeOwner(who, address(0));
        VM.stopPrank();
    }

    function wait(uint256 time) external {
        VM.warp(block.timestamp + _bound(time, 1, 1500));
    }

    function waitLong(uint256 time) external {
        if (time % 8 == 0) VM.warp(block.timestamp + 8 days);
    }

    function _anyPayer(uint256 who) private view returns (address) {
        return who % 3 == 2 ? _payer : _requesters[who % 3];
    }
}
