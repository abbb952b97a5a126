// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {CalldataWord} from "./CalldataWord.sol";

/// @title Reads what a TPM 2.0 signs as a quote (TPMS_ATTEST of type quote)
/// @notice Only the one form that a TPM with a SHA-256 signing key and one SHA-256 register selection writes: then every
/// field has its place, and 145 bytes are all there is. Integers are big-endian.
///
/// | bytes | field | must be |
/// |---|---|---|
/// | 0–3 | magic | ff 54 43 47, which a TPM puts before nothing that came from outside |
/// | 4–5 | type | 8018, a quote |
/// | 6–41 | qualified signer, with its size | 34 bytes; the key is known by its point, so the name is not looked at |
/// | 42–75 | extra data, with its size | 32 bytes |
/// | 76–92 | clock, reset count, restart count, safe | anything: freshness comes from the extra data |
/// | 93–100 | firmware version | anything: who enrols the key judges it |
/// | 101–110 | register selection: count, bank, size, bits | one, sha256, 3 bytes |
/// | 111–144 | digest of the registers, with its size | 32 bytes |
library TpmAttest {
    using CalldataWord for bytes;

    uint256 internal constant LENGTH = 145;

    error AttestMalformed(uint256 offset, uint256 expected, uint256 found);

    /// @param evidence starts with the structure; the caller checked that all `LENGTH` bytes are there
    /// @return extraData what the caller of the TPM asked it to sign
    /// @return pcrs bit i: register i is quoted
    /// @return pcrDigest sha256 over the quoted registers' values, in ascending order
    function parse(bytes calldata evidence) internal pure returns (bytes32 extraData, uint24 pcrs, bytes32 pcrDigest) {
        // Each number is what is left of a word when the bytes behind the fields are shifted out.
        _expect(0, 0xff54434780180022, uint256(evidence.word(0)) >> 192);
        _expect(42, 32, uint256(evidence.word(42)) >> 240);
        uint256 selection = uint256(evidence.word(101)) >> 160; // 12 bytes: 7 fixed, 3 of bits, 2 of size
        _expect(101, 0x00000001000b03, selection >> 40);
        _expect(111, 32, selection & 0xffff);
        extraData = evidence.word(44);
        // The first byte stands for registers 0 to 7, the lowest bit first.
        pcrs = uint24(selection >> 32 & 0xff | selection >> 16 & 0xff00 | selection & 0xff0000);
        pcrDigest = evidence.word(113);
    }

    function _expect(uint256 offset, uint256 expected, uint256 found) private pure {
        if (found != expected) revert AttestMalformed(offset, expected, found);
    }
}
