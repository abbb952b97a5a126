// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";

/// @notice An operator's stake in one token. One slot.
struct Stake {
    uint128 free; // token units that can back a new bond or leave
    uint128 locked; // token units that back open replicas
}

/// @notice Stake on its way out. One slot.
struct Exit {
    uint128 amount; // token units
    uint40 readyAt; // unix seconds
}

/// @title Stake that stands behind results
/// @notice Locked stake of an operator is the sum of the bonds of its open replicas in that token. Only the market
/// locks, unlocks and slashes. Nobody else, no owner, can move stake.
interface IProviderStaking {
    event Staked(address indexed operator, IERC20 indexed token, uint128 amount, address from);
    event ExitRequested(address indexed operator, IERC20 indexed token, uint128 amount, uint40 readyAt);
    event Exited(address indexed operator, IERC20 indexed token, uint128 amount, address to);
    event Locked(address indexed operator, IERC20 indexed token, uint128 amount);
    event Unlocked(address indexed operator, IERC20 indexed token, uint128 amount);
    event Slashed(address indexed operator, IERC20 indexed token, uint128 amount, address victim, uint128 compensation);
    event SinkWithdrawn(IERC20 indexed token, uint256 amount);

    error NotMarket(address caller);
    error NotController(address operator, address caller);
    error StakeTooLow(address operator, IERC20 token, uint128 free, uint128 needed);
    error ZeroAmount();
    error NoExit(address operator, IERC20 token);
    error ExitNotReady(uint40 readyAt);
    error WrongAmountReceived(IERC20 token, uint256 expected, uint256 received);

    /// @notice Adds `amount` token units to the free stake of `operator`, taken from the caller. Anyone may.
    /// @custom:reverts ZeroAmount, WrongAmountReceived (fee-on-transfer tokens)
    /// @custom:emits Staked
    function stake(address operator, IERC20 token, uint128 amount) external;

    /// @notice `stake` with an ERC-2612 permit. A permit that was already used is no error.
    function stakeWithPermit(
        address operator, IERC20 token, uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s
    ) external;

    /// @notice Starts to take free stake out; it waits `EXIT_DELAY`. Adds to an exit under way and restarts its clock.
    /// @custom:reverts NotController, ZeroAmount, StakeTooLow
    /// @custom:emits ExitRequested
    function requestExit(address operator, IERC20 token, uint128 amount) external;

    /// @notice Pays a ready exit to `to`.
    /// @custom:reverts NotController, NoExit, ExitNotReady
    /// @custom:emits Exited
    function exit(address operator, IERC20 token, address to) external;

    /// @notice Moves free stake to locked. Market only.
    /// @custom:reverts NotMarket, StakeTooLow
    function lock(address operator, IERC20 token, uint128 amount) external;

    /// @notice Moves locked stake back to free. Market only.
    function unlock(address operator, IERC20 token, uint128 amount) external;

    /// @notice Takes `amount` of locked stake: `compensation` becomes the market's balance for the victim, the rest goes
    /// to the sink as a withdrawable balance. Market only.
    /// @return paid token units of compensation that reached the market
    function slash(address operator, IERC20 token, uint128 amount, address victim, uint128 compensation)
        external
        returns (uint128 paid);

    function stakeOf(address operator, IERC20 token) external view returns (Stake memory);
    function exitOf(address operator, IERC20 token) external view returns (Exit memory);
    /// @notice Seconds between `requestExit` and `exit`.
    function EXIT_DELAY() external view returns (uint40); // solhint-disable-line func-name-mixedcase
    function identity() external view returns (IIdentityRegistry);
    function market() external view returns (address);
    /// @notice Who gets what slashes leave after the victim.
    function sink() external view returns (address);
    /// @notice Token units that slashes left for the sink.
    function sinkBalance(IERC20 token) external view returns (uint256);
    /// @notice Pays the sink what slashes left. Anyone may call.
    /// @custom:reverts ZeroAmount
    /// @custom:emits SinkWithdrawn
    function withdrawSink(IERC20 token) external;
}
