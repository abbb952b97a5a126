// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {IJobMarket} from "./IJobMarket.sol";

/// @notice The market's money: one balance per account and token. Tokens move only in `deposit` and `withdraw`.
abstract contract Ledger is IJobMarket {
    using SafeERC20 for IERC20;

    /// @inheritdoc IJobMarket
    IIdentityRegistry public immutable identity;

    mapping(address account => mapping(IERC20 token => uint256)) private _balances;

    constructor(IIdentityRegistry identity_) {
        identity = identity_;
    }

    /// @inheritdoc IJobMarket
    function depositWithPermit(
        address account,
        IERC20 token,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // A permit that somebody else sent first is spent, but the allowance is there.
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        deposit(account, token, amount);
    }

    /// @inheritdoc IJobMarket
    function withdraw(address account, IERC20 token, uint256 amount, address to) external {
        if (msg.sender != identity.controllerOf(account)) revert NotController(account, msg.sender);
        if (amount == 0) revert ZeroAmount();

        _debit(account, address(token), amount);
        emit Withdrawn(account, token, amount, to);
        token.safeTransfer(to, amount);
    }

    /// @inheritdoc IJobMarket
    function balanceOf(address account, IERC20 token) external view returns (uint256) {
        return _balances[account][token];
    }

    /// @inheritdoc IJobMarket
    function deposit(address account, IERC20 token, uint256 amount) public {
        if (amount == 0) revert ZeroAmount();
        // Any call into these contracts from inside the transfer moves the balance too and fails the comparison.
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert WrongAmountReceived(token, amount, received);

        _credit(account, address(token), amount);
        emit Deposited(account, token, amount, msg.sender);
    }

    function _credit(address account, address token, uint256 amount) internal {
        if (amount > 0) _balances[account][IERC20(token)] += amount;
    }

    function _debit(address account, address token, uint256 amount) internal {
        uint256 balance = _balances[account][IERC20(token)];
        if (balance < amount) revert BalanceTooLow(account, IERC20(token), balance, amount);
        // No underflow: compared in the line above.
        unchecked {
            if (amount > 0) _balances[account][IERC20(token)] = balance - amount;
        }
    }
}
