// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice Answers every question with a megabyte whose first word is not the right one.
contract BombWallet is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            return(0, 1000000)
        }
    }
}
