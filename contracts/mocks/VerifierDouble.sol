// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A verifier that answers every question with the word it was told, or misbehaves in one of the ways that code can.
contract VerifierDouble {
    enum Manner {
        Answers, // the word it was told
        Reverts,
        Burns, // all the gas that it was given
        Mumbles, // the word, one byte short
        Floods, // the word and twenty thousand bytes more
        Bombs // a megabyte
    }

    Manner private _manner;
    uint256 private _word;

    error NoComment();

    function set(Manner manner, uint256 word) external {
        (_manner, _word) = (manner, word);
    }

    // solhint-disable-next-line no-complex-fallback
    fallback() external {
        (Manner manner, uint256 word) = (_manner, _word);
        if (manner == Manner.Reverts) revert NoComment();
        while (manner == Manner.Burns) {}
        uint256 size = 32;
        if (manner == Manner.Mumbles) size = 31;
        if (manner == Manner.Floods) size = 20_032;
        if (manner == Manner.Bombs) size = 1_000_000;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(0, word)
            return(0, size)
        }
    }
}
