// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Stands where the DCAP contracts would: gives the answer that a test put in, byte for byte, or fails with it.
contract AttestDcapDouble {
    bytes private _answer;
    bool private _fails;
    /// @notice keccak256 of the last quote that was asked about.
    bytes32 public asked;

    function set(bytes calldata answer, bool fails) external {
        (_answer, _fails) = (answer, fails);
    }

    function verifyAndAttestOnChain(bytes calldata rawQuote) external returns (bool, bytes memory) {
        asked = keccak256(rawQuote);
        bytes memory answer = _answer;
        bool fails = _fails;
        assembly ("memory-safe") {
            if fails { revert(add(answer, 0x20), mload(answer)) }
            return(add(answer, 0x20), mload(answer))
        }
    }
}
