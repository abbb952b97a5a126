// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @notice Money for local chains: anyone may mint, and nobody may on a real chain.
contract TestToken is ERC20, ERC20Permit {
    error NotALocalChain(uint256 chainId);

    constructor() ERC20("Berth Test Dollar", "tUSD") ERC20Permit("Berth Test Dollar") {}

    /// @custom:reverts NotALocalChain unless the chain id is 31337 or 1337
    function mint(address to, uint256 amount) external {
        if (block.chainid != 31337 && block.chainid != 1337) revert NotALocalChain(block.chainid);
        _mint(to, amount);
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
