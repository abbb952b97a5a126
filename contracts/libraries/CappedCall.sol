// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title A question to code that nobody here wrote
/// @notice The callee gets exactly the cap, one word of its answer is read, and a caller who brings too little gas for the
/// whole cap is sent away: so "it failed" always means that it failed with everything it was promised.
library CappedCall {
    /// @dev What is left over must be enough to go on with after the call used its whole cap.
    uint256 private constant RESERVE = 20_000;

    error GasTooLow(uint256 needed);

    /// @return answered false when the call failed or gave less than a word
    /// @return word the first word of the answer
    function ask(address target, uint256 cap, bytes memory question)
        internal
        view
        returns (bool answered, uint256 word)
    {
        // A call passes on at most 63/64 of the gas that there is (EIP-150).
        uint256 needed = cap + cap / 63 + RESERVE;
        if (gasleft() < needed) revert GasTooLow(needed);
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            answered := staticcall(cap, target, add(question, 0x20), mload(question), 0x00, 0x20)
            answered := and(answered, gt(returndatasize(), 0x1f))
            if answered { word := mload(0x00) }
        }
    }
}
