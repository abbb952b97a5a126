// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CappedCall} from "../libraries/CappedCall.sol";

/// @notice Asks with a word lying where the answer will be: one that is too short must not be completed by it.
contract HostileScratch {
    function ask(address target, bytes32 lying) external view returns (bool answered, uint256 word) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(0x00, lying)
        }
        return CappedCall.ask(target, 30_000, "");
    }
}
