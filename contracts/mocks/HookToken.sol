// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice Makes one chosen call in the middle of the next transfer, as a token with hooks would.
contract HookToken is ERC20 {
    address private _target;
    bytes private _call;

    /// @notice What the call in the middle of the transfer answered.
    bool public succeeded;

    constructor() ERC20("Hook", "HOOK") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function arm(address target, bytes calldata call) external {
        (_target, _call) = (target, call);
    }

    function _update(address from, address to, uint256 value) internal override {
        address target = _target;
        _target = address(0);
        // solhint-disable-next-line avoid-low-level-calls
        if (target != address(0)) (succeeded,) = target.call(_call);
        super._update(from, to, value);
    }
}
