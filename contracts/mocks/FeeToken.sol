// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice Keeps one unit of every transfer for itself, once it has begun to.
contract FeeToken is ERC20 {
    bool private _free;

    constructor() ERC20("Fee", "FEE") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setFree(bool free) external {
        _free = free;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (!_free && from != address(0) && value > 0) super._update(to, address(this), 1);
    }
}
