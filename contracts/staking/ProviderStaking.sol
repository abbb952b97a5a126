// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {ExactTransfer} from "../libraries/ExactTransfer.sol";
import {Exit, IProviderStaking, Stake} from "./IProviderStaking.sol";

/// @title Provider stake; IProviderStaking is its manual
contract ProviderStaking is IProviderStaking {
    using ExactTransfer for IERC20;

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
    mapping(address account => mapping(IERC20 token => uint256)) public owedTo;

    modifier onlyMarket() {
        if (msg.sender != market) revert NotMarket(msg.sender);
        _;
    }

    modifier onlyController(address account) {
        if (msg.sender != identity.controllerOf(account)) revert NotController(account, msg.sender);
        _;
    }

    constructor(IIdentityRegistry identity_, address market_, address sink_) {
        // The market makes this contract and names itself; a sink of zero burns what it gets.
        // slither-disable-next-line missing-zero-check
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
        // Nothing was read or written yet, so a call into this contract from the token is like one before.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        token.permit(amount, deadline, v, r, s);
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
    function cancelExit(address operator, IERC20 token) external onlyController(operator) {
        uint128 amount = _exits[operator][token].amount;
        if (amount == 0) revert NoExit(operator, token);

        delete _exits[operator][token];
        _stakes[operator][token].free += amount;
        emit ExitCancelled(operator, token, amount);
    }

    /// @inheritdoc IProviderStaking
    function exit(address operator, IERC20 token, address to) external onlyController(operator) {
        Exit memory e = _exits[operator][token];
        if (e.amount == 0) revert NoExit(operator, token);
        if (block.timestamp < e.readyAt) revert ExitNotReady(e.readyAt);

        delete _exits[operator][token];
        emit Exited(operator, token, e.amount, to);
        token.give(to, e.amount);
    }

    /// @inheritdoc IProviderStaking
    function lock(address operator, IERC20 token, uint128 amount) external onlyMarket returns (uint256 staked) {
        Stake memory s = _stakes[operator][token];
        if (s.free < amount) revert StakeTooLow(operator, token, s.free, amount);

        _stakes[operator][token] = Stake(s.free - amount, s.locked + amount);
        emit Locked(operator, token, amount);
        return uint256(s.free) + s.locked;
    }

    /// @inheritdoc IProviderStaking
    function unlock(address operator, IERC20 token, uint128 amount) external onlyMarket {
        Stake memory s = _stakes[operator][token];
        _stakes[operator][token] = Stake(s.free + amount, s.locked - amount);
        emit Unlocked(operator, token, amount);
    }

    /// @inheritdoc IProviderStaking
    function slash(
        address operator,
        IERC20 token,
        uint128 bond,
        uint128 amount,
        address victim,
        uint128 compensation,
        address helper,
        uint128 reward
    ) external onlyMarket {
        uint256 shares = uint256(compensation) + reward;
        if (amount > bond || shares > amount) revert SharesAboveSlash(amount, shares);
        Stake memory s = _stakes[operator][token];

        _stakes[operator][token] = Stake(s.free + (bond - amount), s.locked - bond);
        emit Slashed(operator, token, bond, amount);
        _owe(victim, token, compensation);
        _owe(helper, token, reward);
        // Fits in 128 bits: what is left of `amount`.
        _owe(sink, token, uint128(amount - shares));
    }

    /// @inheritdoc IProviderStaking
    function collect(address account, IERC20 token, address to) external onlyController(account) {
        uint256 amount = owedTo[account][token];
        if (amount == 0) revert NothingOwed(account, token);

        owedTo[account][token] = 0;
        emit Collected(account, token, amount, to);
        token.give(to, amount);
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
        token.take(msg.sender, amount);

        _stakes[operator][token].free += amount;
        emit Staked(operator, token, amount, msg.sender);
    }

    function _owe(address account, IERC20 token, uint128 amount) private {
        if (amount == 0) return;
        owedTo[account][token] += amount;
        emit Owed(account, token, amount);
    }
}
