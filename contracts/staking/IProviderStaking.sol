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
/// @notice Locked stake of an operator is the sum of the bonds of its open replicas in that token; it cannot leave, however
/// long ago its exit was asked for, so a slash always finds it. Only the market locks, unlocks and slashes. Nobody else, no
/// owner, can move stake. What a slash takes is owed to whoever gets it and pulled by them.
interface IProviderStaking {
    event Staked(address indexed operator, IERC20 indexed token, uint128 amount, address from);
    event ExitRequested(address indexed operator, IERC20 indexed token, uint128 amount, uint40 readyAt);
    event ExitCancelled(address indexed operator, IERC20 indexed token, uint128 amount);
    event Exited(address indexed operator, IERC20 indexed token, uint128 amount, address to);
    event Locked(address indexed operator, IERC20 indexed token, uint128 amount);
    event Unlocked(address indexed operator, IERC20 indexed token, uint128 amount);
    /// @notice A bond ended: `amount` of it was taken, the rest is free again.
    event Slashed(address indexed operator, IERC20 indexed token, uint128 bond, uint128 amount);
    /// @notice A part of a slash that now waits to be collected.
    event Owed(address indexed account, IERC20 indexed token, uint128 amount);
    event Collected(address indexed account, IERC20 indexed token, uint256 amount, address to);

    error NotMarket(address caller);
    error NotController(address account, address caller);
    error StakeTooLow(address operator, IERC20 token, uint128 free, uint128 needed);
    error ZeroAmount();
    error NoExit(address operator, IERC20 token);
    error ExitNotReady(uint40 readyAt);
    error NothingOwed(address account, IERC20 token);
    error SharesAboveSlash(uint128 amount, uint256 shares);

    /// @notice Adds `amount` token units to the free stake of `operator`, taken from the caller. Anyone may.
    /// @custom:reverts ZeroAmount; ExactTransfer's errors (fee-on-transfer tokens)
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

    /// @notice Makes all stake on its way out free again.
    /// @custom:reverts NotController, NoExit
    /// @custom:emits ExitCancelled
    function cancelExit(address operator, IERC20 token) external;

    /// @notice Pays a ready exit to `to`.
    /// @custom:reverts NotController, NoExit, ExitNotReady
    /// @custom:emits Exited
    function exit(address operator, IERC20 token, address to) external;

    /// @notice Moves free stake to locked. Market only.
    /// @return staked token units that the operator has staked, free and locked
    /// @custom:reverts NotMarket, StakeTooLow
    function lock(address operator, IERC20 token, uint128 amount) external returns (uint256 staked);

    /// @notice Moves locked stake back to free. Market only.
    function unlock(address operator, IERC20 token, uint128 amount) external;

    /// @notice Ends a bond by taking `amount` of it: first what the victim gets, then what the helper gets, the rest is the
    /// sink's. What is not taken is free again. Market only. No token moves.
    /// @param bond token units that were locked for the replica
    /// @param amount token units taken, at most the bond
    /// @param compensation token units owed to `victim`
    /// @param reward token units owed to `helper`
    /// @custom:reverts NotMarket; SharesAboveSlash when the shares exceed `amount`, or that the bond
    /// @custom:emits Slashed, Owed for each share that is not zero
    function slash(
        address operator,
        IERC20 token,
        uint128 bond,
        uint128 amount,
        address victim,
        uint128 compensation,
        address helper,
        uint128 reward
    ) external;

    /// @notice Pays what slashes left for `account` to `to`. The caller controls `account`.
    /// @custom:reverts NotController, NothingOwed
    /// @custom:emits Collected
    function collect(address account, IERC20 token, address to) external;

    function stakeOf(address operator, IERC20 token) external view returns (Stake memory);
    function exitOf(address operator, IERC20 token) external view returns (Exit memory);
    /// @notice Token units that slashes left for an account.
    function owedTo(address account, IERC20 token) external view returns (uint256);
    /// @notice Seconds between `requestExit` and `exit`.
    function EXIT_DELAY() external view returns (uint40); // solhint-disable-line func-name-mixedcase
    function identity() external view returns (IIdentityRegistry);
    function market() external view returns (address);
    /// @notice Who gets what slashes leave after everyone else.
    function sink() external view returns (address);
}
