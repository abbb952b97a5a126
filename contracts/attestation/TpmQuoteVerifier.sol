// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {CalldataWord} from "./CalldataWord.sol";
import {ICommittee} from "./ICommittee.sol";
import {IQuoteVerifier, Quote} from "./IQuoteVerifier.sol";
import {ITpmQuoteVerifier, TpmEnrolment} from "./ITpmQuoteVerifier.sol";
import {TpmAttest} from "./TpmAttest.sol";

/// @title The verifier of TPM quotes; ITpmQuoteVerifier is its manual
contract TpmQuoteVerifier is ITpmQuoteVerifier, EIP712 {
    using CalldataWord for bytes;

    /// @dev One slot.
    struct Enrolment {
        bytes20 platform;
        uint40 issuedAt;
        uint40 validTo;
        uint8 tier;
    }

    bytes32 private constant ENROLMENT_TYPEHASH =
        keccak256("TpmEnrolment(bytes32 x,bytes32 y,bytes20 platform,uint40 issuedAt,uint40 validTo,uint8 tier)");
    bytes32 private constant MEASUREMENT_DOMAIN = keccak256("berth/measurement/tpm2/v1");
    uint8 private constant BEST_TIER = 3;

    // Where the parts of the evidence start.
    uint256 private constant R = TpmAttest.LENGTH;
    uint256 private constant S = R + 32;
    uint256 private constant X = S + 32;
    uint256 private constant Y = X + 32;
    uint256 private constant PCRS = Y + 32;

    /// @inheritdoc ITpmQuoteVerifier
    ICommittee public immutable committee;
    /// @inheritdoc ITpmQuoteVerifier
    uint24 public immutable measuredPcrs;

    mapping(bytes32 keyId => Enrolment) private _enrolments;

    constructor(ICommittee committee_, uint24 measuredPcrs_) EIP712("Berth TPM Quotes", "1") {
        if (measuredPcrs_ == 0) revert NothingMeasured();
        (committee, measuredPcrs) = (committee_, measuredPcrs_);
    }

    /// @inheritdoc ITpmQuoteVerifier
    function enrol(TpmEnrolment calldata enrolment, bytes calldata signatures) external {
        if (!P256.isValidPublicKey(enrolment.x, enrolment.y)) revert NotAPoint(enrolment.x, enrolment.y);
        if (enrolment.tier == 0 || enrolment.tier > BEST_TIER) revert TierOutOfRange(enrolment.tier);
        // A verdict from the future would lock out those that come before it.
        if (enrolment.issuedAt > block.timestamp) revert IssuedInFuture(enrolment.issuedAt);
        bytes32 keyId = _keyId(enrolment.x, enrolment.y);
        uint40 storedIssuedAt = _enrolments[keyId].issuedAt;
        if (enrolment.issuedAt <= storedIssuedAt) revert VerdictSuperseded(keyId, enrolment.issuedAt, storedIssuedAt);
        committee.requireVerdict(_hashTypedDataV4(keccak256(abi.encode(ENROLMENT_TYPEHASH, enrolment))), signatures);

        _enrolments[keyId] = Enrolment(enrolment.platform, enrolment.issuedAt, enrolment.validTo, enrolment.tier);
        emit TpmEnrolled(
            enrolment.platform,
            keyId,
            enrolment.x,
            enrolment.y,
            enrolment.issuedAt,
            enrolment.validTo,
            enrolment.tier
        );
    }

    /// @inheritdoc IQuoteVerifier
    /// @custom:reverts EvidenceTooShort, AttestMalformed, WrongPcrValues, PcrNotQuoted, PcrDigestMismatch, KeyNotEnrolled,
    /// EnrolmentExpired, NotSignedByKey
    function verify(bytes calldata evidence) external view returns (Quote memory quote) {
        if (evidence.length < PCRS) revert EvidenceTooShort(evidence.length, PCRS);
        uint24 pcrs;
        bytes32 pcrDigest;
        (quote.reportData, pcrs, pcrDigest) = TpmAttest.parse(evidence);
        quote.measurement = _measure(evidence[PCRS:], pcrs, pcrDigest);

        (bytes32 x, bytes32 y) = (evidence.word(X), evidence.word(Y));
        bytes32 keyId = _keyId(x, y);
        Enrolment memory enrolment = _enrolments[keyId];
        if (enrolment.tier == 0) revert KeyNotEnrolled(x, y);
        if (enrolment.validTo < block.timestamp) revert EnrolmentExpired(keyId, enrolment.validTo);
        (quote.platform, quote.validTo, quote.tier) = (enrolment.platform, enrolment.validTo, enrolment.tier);
        bytes32 digest = sha256(evidence[:TpmAttest.LENGTH]);
        if (!P256.verify(digest, evidence.word(R), _lowS(evidence.word(S)), x, y)) revert NotSignedByKey(keyId);
    }

    /// @inheritdoc ITpmQuoteVerifier
    function enrolmentOf(bytes32 x, bytes32 y)
        external
        view
        returns (bytes20 platform, uint40 issuedAt, uint40 validTo, uint8 tier)
    {
        Enrolment storage enrolment = _enrolments[_keyId(x, y)];
        return (enrolment.platform, enrolment.issuedAt, enrolment.validTo, enrolment.tier);
    }

    /// @param values of the registers `pcrs`, which the TPM signed as `pcrDigest`
    function _measure(bytes calldata values, uint24 pcrs, bytes32 pcrDigest)
        private
        view
        returns (bytes32 measurement)
    {
        uint256 measured = measuredPcrs;
        if (pcrs & measured != measured) revert PcrNotQuoted(uint24(measured), pcrs);
        measurement = Hashes.efficientKeccak256(MEASUREMENT_DOMAIN, bytes32(measured));
        uint256 next = 0;
        uint256 left = pcrs;
        // Nothing here can leave its bounds: there are 24 registers, and each turn takes one.
        unchecked {
            while (left != 0) {
                // Behind the loop it would be found as well; here nothing outside the values is read.
                if (values.length < next + 32) revert WrongPcrValues(values.length, pcrs);
                uint256 others = left & (left - 1); // all but the lowest
                if ((left ^ others) & measured != 0) {
                    measurement = Hashes.efficientKeccak256(measurement, values.word(next));
                }
                left = others;
                next += 32;
            }
        }
        if (values.length != next) revert WrongPcrValues(values.length, pcrs);
        bytes32 computed = sha256(values);
        if (computed != pcrDigest) revert PcrDigestMismatch(pcrDigest, computed);
    }

    /// @dev For every signature (r, s) there is (r, n - s); OpenZeppelin takes the lower of the two only.
    function _lowS(bytes32 s) private pure returns (bytes32) {
        if (uint256(s) <= P256.N / 2 || uint256(s) >= P256.N) return s;
        return bytes32(P256.N - uint256(s));
    }

    function _keyId(bytes32 x, bytes32 y) private pure returns (bytes32) {
        return Hashes.efficientKeccak256(x, y);
    }
}
