// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Moves tokens in and out of this contract, exactly
/// @notice A token that moves another amount than it was asked to is refused, whichever way it goes: the books stay whole.
library ExactTransfer {
    using SafeERC20 for IERC20;

    error NotAToken(IERC20 token);
    error WrongAmountMoved(IERC20 token, uint256 expected, uint256 moved);

    /// @dev A call into this contract from inside the transfer moves the balance too, and fails the comparison.
    function take(IERC20 token, address from, uint256 amount) internal {
        if (address(token).code.length == 0) revert NotAToken(token);
        uint256 before = token.balanceOf(address(this));
        // Every caller names its own caller as `from`.
        // slither-disable-next-line arbitrary-send-erc20
        token.safeTransferFrom(from, address(this), amount);
        uint256 current = token.balanceOf(address(this));
        if (current < before || current - before != amount) {
            revert WrongAmountMoved(token, amount, current < before ? 0 : current - before);
        }
    }

    /// @dev What left is compared, not what arrived: the receiver's side is between the receiver and the token.
    function give(IERC20 token, address to, uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransfer(to, amount);
        uint256 current = token.balanceOf(address(this));
        if (current > before || before - current != amount) {
            revert WrongAmountMoved(token, amount, current > before ? 0 : before - current);
        }
    }

    /// @dev A permit that somebody else sent first is spent, but the allowance is there; a missing one shows in `take`.
    function permit(IERC20 token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) internal {
        if (address(token).code.length == 0) revert NotAToken(token);
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
    }
}
