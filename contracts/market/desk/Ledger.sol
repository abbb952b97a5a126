// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ExactTransfer} from "../../libraries/ExactTransfer.sol";
import {IMarketDesk} from "../IMarketDesk.sol";
import {MarketState} from "../MarketState.sol";

/// @notice The market's money: one balance per account and token. Tokens move only here.
abstract contract Ledger is IMarketDesk, MarketState {
    using ExactTransfer for IERC20;

    /// @inheritdoc IMarketDesk
    function depositWithPermit(
        address account,
        IERC20 token,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // Nothing was read or written yet, so a call into this contract from the token is like one before.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        token.permit(amount, deadline, v, r, s);
        deposit(account, token, amount);
    }

    /// @inheritdoc IMarketDesk
    function withdraw(address account, IERC20 token, uint256 amount, address to) external {
        if (!_controls(account)) revert NotController(account, msg.sender);
        if (amount == 0) revert ZeroAmount();

        _debit(account, address(token), amount);
        emit Withdrawn(account, token, amount, to);
        token.give(to, amount);
    }

    /// @inheritdoc IMarketDesk
    function deposit(address account, IERC20 token, uint256 amount) public {
        if (amount == 0) revert ZeroAmount();
        token.take(msg.sender, amount);

        _credit(account, address(token), amount);
        emit Deposited(account, token, amount, msg.sender);
    }

}
