// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "./ICommittee.sol";
import {IQuoteVerifier} from "./IQuoteVerifier.sol";

/// @notice A committee's word on a TPM's attestation key: that it is a restricted signing key that cannot leave the TPM whose
/// endorsement key names the platform.
struct TpmEnrolment {
    bytes32 x; // P-256 point of the attestation key
    bytes32 y;
    bytes20 platform; // first 20 bytes of the sha256 of the endorsement key's public area
    uint40 issuedAt; // unix seconds; of two verdicts on a key the later one counts
    uint40 validTo; // unix seconds: the last second in which the key's quotes count; a past one takes the key out
    uint8 tier; // 1 to 3, see Quote
}

/// @title Quotes of TPM 2.0 chips, checked on chain from the first to the last bit
/// @notice Evidence, packed: TPMS_ATTEST (145 bytes, see TpmAttest), r and s of its ECDSA signature (32 each), x and y of the
/// attestation key (32 each), then the value of every quoted register of the sha256 bank in ascending order (32 each).
/// The signature is checked by the precompile of EIP-7951, and in Solidity where the chain has none. TPMs write high and low s
/// alike; both are taken.
/// Measurement: a chain that starts at keccak256 of `keccak256("berth/measurement/tpm2/v1")` and `measuredPcrs` (32 bytes each)
/// and goes on, for every measured register in ascending order, to keccak256 of what it is and the register's value. A quote
/// may cover more registers than are measured, such as one with an event log.
/// Platform and validity are the enrolment's, the platform filled up with zeros; report data is the quote's extra data.
/// A TPM proves which software was started, not that nobody reads its memory.
interface ITpmQuoteVerifier is IQuoteVerifier {
    event TpmEnrolled(
        bytes20 indexed platform, bytes32 indexed keyId, bytes32 x, bytes32 y, uint40 issuedAt, uint40 validTo, uint8 tier
    );

    error EvidenceTooShort(uint256 length, uint256 least);
    error WrongPcrValues(uint256 length, uint24 pcrs);
    error PcrNotQuoted(uint24 measuredPcrs, uint24 pcrs);
    error PcrDigestMismatch(bytes32 quoted, bytes32 computed);
    error KeyNotEnrolled(bytes32 x, bytes32 y);
    error EnrolmentExpired(bytes32 keyId, uint40 validTo);
    error NotSignedByKey(bytes32 keyId);
    error NotAPoint(bytes32 x, bytes32 y);
    error TierOutOfRange(uint8 tier);
    error IssuedInFuture(uint40 issuedAt);
    error VerdictSuperseded(bytes32 keyId, uint40 issuedAt, uint40 storedIssuedAt);
    error NothingMeasured();

    /// @notice Enrols an attestation key, or changes or ends its enrolment. Anyone may bring the verdict.
    /// @param signatures of the committee over the EIP-712 struct `TpmEnrolment(bytes32 x,bytes32 y,bytes20 platform,
    /// uint40 issuedAt,uint40 validTo,uint8 tier)`, written without the line break
    /// @custom:reverts NotAPoint, TierOutOfRange, IssuedInFuture, VerdictSuperseded; those of ICommittee.requireVerdict
    /// @custom:emits TpmEnrolled
    function enrol(TpmEnrolment calldata enrolment, bytes calldata signatures) external;

    /// @notice The enrolment of the key with this point; zero when there never was one.
    function enrolmentOf(bytes32 x, bytes32 y)
        external
        view
        returns (bytes20 platform, uint40 issuedAt, uint40 validTo, uint8 tier);

    /// @notice Bit i: register i is part of the measurement, and every quote must cover it.
    function measuredPcrs() external view returns (uint24);
    function committee() external view returns (ICommittee);
}
