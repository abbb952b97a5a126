// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ExactTransfer} from "../libraries/ExactTransfer.sol";
import {IJuryArbiter, JurorStake} from "./IJuryArbiter.sol";

/// @notice What jurors put up and what is owed to accounts. This contract holds at least both, fees that the market still keeps aside.
abstract contract JurorStakes is IJuryArbiter {
    using ExactTransfer for IERC20;

    /// @inheritdoc IJuryArbiter
    uint40 public constant EXIT_DELAY = 14 days;

    mapping(address juror => mapping(IERC20 token => JurorStake)) private _stakes;

    /// @inheritdoc IJuryArbiter
    mapping(address account => mapping(IERC20 token => uint256)) public owedTo;

    /// @inheritdoc IJuryArbiter
    function stake(IERC20 token, uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        token.take(msg.sender, amount);

        _stakes[msg.sender][token].staked += amount;
        emit Staked(msg.sender, token, amount);
    }

    /// @inheritdoc IJuryArbiter
    function requestExit(IERC20 token, uint128 amount) external {
        if (amount == 0) revert ZeroAmount();
        JurorStake storage s = _stakes[msg.sender][token];
        if (s.staked < amount) revert StakeTooLow(msg.sender, token, s.staked, amount);
        uint40 readyAt = uint40(block.timestamp) + EXIT_DELAY;

        s.staked -= amount;
        s.leaving += amount;
        s.readyAt = readyAt;
        emit ExitRequested(msg.sender, token, amount, readyAt);
    }

    /// @inheritdoc IJuryArbiter
    function exit(IERC20 token, address to) external {
        JurorStake storage s = _stakes[msg.sender][token];
        (uint128 amount, uint40 readyAt) = (s.leaving, s.readyAt);
        if (amount == 0) revert NothingLeaving(msg.sender, token);
        if (block.timestamp < readyAt) revert ExitNotReady(readyAt);

        (s.leaving, s.readyAt) = (0, 0);
        emit Exited(msg.sender, token, amount, to);
        token.give(to, amount);
    }

    /// @inheritdoc IJuryArbiter
    function stakeOf(address juror, IERC20 token) public view returns (JurorStake memory) {
        return _stakes[juror][token];
    }

    /// @dev Takes up to `most` of a juror's stake, what is on its way out last.
    function _takeStake(address juror, IERC20 token, uint128 most) internal returns (uint128 taken) {
        JurorStake storage s = _stakes[juror][token];
        (uint128 staked, uint128 leaving) = (s.staked, s.leaving);
        uint128 first = staked < most ? staked : most;
        uint128 rest = most - first;
        if (rest > leaving) rest = leaving;
        s.staked = staked - first;
        s.leaving = leaving - rest;
        return first + rest;
    }

    function _owe(address account, IERC20 token, uint256 amount) internal {
        if (amount == 0) return;
        owedTo[account][token] += amount;
        emit Owed(account, token, amount);
    }
}
