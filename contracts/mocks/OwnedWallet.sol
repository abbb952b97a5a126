// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @notice A wallet that signs through its owner's key and calls what its owner says.
contract OwnedWallet is IERC1271 {
    address private immutable _OWNER;

    constructor(address owner) {
        _OWNER = owner;
    }

    function run(address target, bytes calldata data) external {
        // solhint-disable-next-line gas-custom-errors
        require(msg.sender == _OWNER, "not the owner");
        // solhint-disable-next-line avoid-low-level-calls
        (bool done,) = target.call(data);
        // solhint-disable-next-line gas-custom-errors
        require(done, "the call failed");
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        return ECDSA.recover(hash, signature) == _OWNER ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}
