// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A wallet that answers every question with the word its maker chose: one that says yes in another way than
/// ERC-1271 asks for has not said yes.
contract IdentityLiar {
    bytes32 private immutable _ANSWER;

    constructor(bytes32 answer) {
        _ANSWER = answer;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes32) {
        return _ANSWER;
    }
}
