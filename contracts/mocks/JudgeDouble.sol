// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A verifier that does what a test says: answers a word followed by zeros, or fails with it, or burns all its gas.
contract JudgeDouble {
    bytes32 private _word;
    uint256 private _length; // bytes of the answer
    bool private _fails;
    bool private _burns;

    function set(bytes32 word, uint256 length, bool fails, bool burns) external {
        (_word, _length, _fails, _burns) = (word, length, fails, burns);
    }

    /// @dev Whatever it is asked.
    // solhint-disable-next-line no-complex-fallback
    fallback() external {
        uint256 sum = 0;
        while (_burns) ++sum;
        (bytes32 word, uint256 length, bool fails) = (_word, _length, _fails);
        assembly {
            mstore(0, word)
            calldatacopy(0x20, calldatasize(), 0x60)
            if fails { revert(0, length) }
            return(0, length)
        }
    }
}
