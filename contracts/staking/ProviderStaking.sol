// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {Exit, IProviderStaking, Stake} from "./IProviderStaking.sol";

/// @title Provider stake; IProviderStaking is its manual
contract ProviderStaking is IProviderStaking {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @inheritdoc IProviderStaking
    uint40 public constant EXIT_DELAY = 7 days;

    /// @inheritdoc IProviderStaking
    IIdentityRegistry public immutable identity;
    /// @inheritdoc IProviderStaking
    address public immutable market;
    /// @inheritdoc IProviderStaking
    address public immutable sink;

    mapping(address operator => mapping(IERC20 token => Stake)) private _stakes;
    mapping(address operator => mapping(IERC20 token => Exit)) private _exits;

    /// @inheritdoc IProviderStaking
    mapping(IERC20 token => uint256) public sinkBalance;

    modifier onlyMarket() {
        if (msg.sender != market) revert NotMarket(msg.sender);
        _;
    }

    modifier onlyController(address operator) {
        if (msg.sender != identity.controllerOf(operator)) revert NotController(operator, msg.sender);
        _;
    }

    constructor(IIdentityRegistry identity_, address market_, address sink_) {
        (identity, market, sink) = (identity_, market_, sink_);
    }

    /// @inheritdoc IProviderStaking
    function stakeWithPermit(
        address operator,
        IERC20 token,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // A permit that somebody else sent first is spent, but the allowance is there.
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        stake(operator, token, amount);
    }

    /// @inheritdoc IProviderStaking
    function requestExit(address operator, IERC20 token, uint128 amount) external onlyController(operator) {
        if (amount == 0) revert ZeroAmount();
        Stake storage s = _stakes[operator][token];
        if (s.free < amount) revert StakeTooLow(operator, token, s.free, amount);
        uint40 readyAt = uint40(block.timestamp) + EXIT_DELAY;

        s.free -= amount;
        Exit storage e = _exits[operator][token];
        e.amount += amount;
        e.readyAt = readyAt;
        emit ExitRequested(operator, token, amount, readyAt);
    }

    /// @inheritdoc IProviderStaking
    function exit(address operator, IERC20 token, address to) external onlyController(operator) {
        Exit memory e = _exits[operator][token];
        if (e.amount == 0) revert NoExit(operator, token);
        if (block.timestamp < e.readyAt) revert ExitNotReady(e.readyAt);

        delete _exits[operator][token];
        emit Exited(operator, token, e.amount, to);
        token.safeTransfer(to, e.amount);
    }

    /// @inheritdoc IProviderStaking
    function lock(address operator, IERC20 token, uint128 amount) external onlyMarket {
        Stake memory s = _stakes[operator][token];
        if (s.free < amount) revert StakeTooLow(operator, token, s.free, amount);

        _stakes[operator][token] = Stake(s.free - amount, s.locked + amount);
        emit Locked(operator, token, amount);
    }

    /// @inheritdoc IProviderStaking
    function unlock(address operator, IERC20 token, uint128 amount) external onlyMarket {
        Stake memory s = _stakes[operator][token];
        _stakes[operator][token] = Stake(s.free + amount, s.locked - amount);
        emit Unlocked(operator, token, amount);
    }

    /// @inheritdoc IProviderStaking
    function slash(address operator, IERC20 token, uint128 amount, address victim, uint128 compensation)
        external
        onlyMarket
        returns (uint128 paid)
    {
        compensation = Math.min(compensation, amount).toUint128();
        _stakes[operator][token].locked -= amount;
        sinkBalance[token] += amount - compensation;
        emit Slashed(operator, token, amount, victim, compensation);
        if (compensation == 0) return 0;

        // What arrived, not what was sent: a token that began to take a fee must not make the market insolvent.
        uint256 before = token.balanceOf(market);
        token.safeTransfer(market, compensation);
        paid = Math.min(token.balanceOf(market) - before, compensation).toUint128();
    }

    /// @inheritdoc IProviderStaking
    function withdrawSink(IERC20 token) external {
        uint256 amount = sinkBalance[token];
        if (amount == 0) revert ZeroAmount();
        sinkBalance[token] = 0;
        emit SinkWithdrawn(token, amount);
        token.safeTransfer(sink, amount);
    }

    /// @inheritdoc IProviderStaking
    function stakeOf(address operator, IERC20 token) external view returns (Stake memory) {
        return _stakes[operator][token];
    }

    /// @inheritdoc IProviderStaking
    function exitOf(address operator, IERC20 token) external view returns (Exit memory) {
        return _exits[operator][token];
    }

    /// @inheritdoc IProviderStaking
    function stake(address operator, IERC20 token, uint128 amount) public {
        if (amount == 0) revert ZeroAmount();
        // Any call into these contracts from inside the transfer moves the balance too and fails the comparison.
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert WrongAmountReceived(token, amount, received);

        _stakes[operator][token].free += amount;
        emit Staked(operator, token, amount, msg.sender);
    }
}
