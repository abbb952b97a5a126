// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Takes the answer of the DCAP contracts apart
/// @notice By hand and with every length checked, because the language's decoder fails without an error.
library DcapOutput {
    /// @dev Quote version, body type, TCB status, FMSPC.
    uint256 internal constant HEAD_BYTES = 11;

    error AnswerMalformed(uint256 length);
    error AdvisoriesMalformed(uint256 length);

    /// @param answer ABI-encoded `(bool, bytes)`
    function split(bytes calldata answer) internal pure returns (bool success, bytes calldata output) {
        if (answer.length < 96) revert AnswerMalformed(answer.length);
        (uint256 flag, uint256 offset, uint256 size) = (_word(answer, 0), _word(answer, 32), _word(answer, 64));
        if (flag > 1 || offset != 64 || size > answer.length - 96) revert AnswerMalformed(answer.length);
        return (flag == 1, answer[96:96 + size]);
    }

    /// @param list ABI-encoded `string[]`
    /// @return hashes keccak256 of each name
    function advisories(bytes calldata list) internal pure returns (bytes32[] memory hashes) {
        if (list.length < 64 || _word(list, 0) != 32) revert AdvisoriesMalformed(list.length);
        uint256 count = _word(list, 32);
        bytes calldata names = list[64:];
        if (count > names.length / 32) revert AdvisoriesMalformed(list.length);
        hashes = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) {
            uint256 start = _word(names, i * 32);
            // Compared by subtraction: a sum of foreign numbers could overflow.
            if (names.length < 32 || start > names.length - 32) revert AdvisoriesMalformed(list.length);
            uint256 size = _word(names, start);
            if (size > names.length - 32 - start) revert AdvisoriesMalformed(list.length);
            hashes[i] = keccak256(names[start + 32:start + 32 + size]);
        }
    }

    function _word(bytes calldata data, uint256 offset) private pure returns (uint256) {
        return uint256(bytes32(data[offset:offset + 32]));
    }
}
