// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ICommittee} from "./ICommittee.sol";
import {IQuoteVerifier, Quote} from "./IQuoteVerifier.sol";

/// @title Quotes that a committee checked off chain
/// @notice Evidence, packed: report data (32 bytes), measurement (32), platform (32), validTo (5), tier (1), then the members'
/// signatures (65 each, ascending by signer) over the EIP-712 struct
/// `QuoteVerdict(bytes32 reportData,bytes32 measurement,bytes32 platform,uint40 validTo,uint8 tier)`.
contract CommitteeQuoteVerifier is IQuoteVerifier, EIP712 {
    bytes32 private constant QUOTE_VERDICT_TYPEHASH =
        keccak256("QuoteVerdict(bytes32 reportData,bytes32 measurement,bytes32 platform,uint40 validTo,uint8 tier)");
    uint256 private constant HEAD_BYTES = 102;
    uint8 private constant BEST_TIER = 3;

    ICommittee public immutable committee;

    error EvidenceTooShort(uint256 length, uint256 least);
    error TierOutOfRange(uint8 tier);

    constructor(ICommittee committee_) EIP712("Berth Committee Quotes", "1") {
        committee = committee_;
    }

    /// @inheritdoc IQuoteVerifier
    /// @custom:reverts EvidenceTooShort, TierOutOfRange; the errors of ICommittee.requireVerdict
    function verify(bytes calldata evidence) external view returns (Quote memory quote) {
        if (evidence.length < HEAD_BYTES) revert EvidenceTooShort(evidence.length, HEAD_BYTES);
        quote = Quote({
            reportData: bytes32(evidence[0:32]),
            measurement: bytes32(evidence[32:64]),
            platform: bytes32(evidence[64:96]),
            validTo: uint40(bytes5(evidence[96:101])),
            tier: uint8(evidence[101])
        });
        if (quote.tier == 0 || quote.tier > BEST_TIER) revert TierOutOfRange(quote.tier);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(QUOTE_VERDICT_TYPEHASH, quote)));
        committee.requireVerdict(digest, evidence[HEAD_BYTES:]);
    }
}
