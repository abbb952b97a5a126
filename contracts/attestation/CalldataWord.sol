// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Reads 32 bytes of calldata at any place
/// @notice A slice checks its bounds each time; whoever uses this checked the length of all at once.
library CalldataWord {
    /// @param offset at most `data.length - 32`, as the caller has made sure
    function word(bytes calldata data, uint256 offset) internal pure returns (bytes32 value) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            value := calldataload(add(data.offset, offset))
        }
    }
}
