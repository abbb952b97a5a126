// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IQuoteVerifier} from "./IQuoteVerifier.sol";

/// @notice What is known of a key that lives in an attested machine.
struct AttestedKey {
    address verifier; // the quote verifier that vouches for it
    uint40 validTo; // unix seconds: the last second in which the key counts
    uint8 tier; // of the platform, 3 is the best; see Quote
    bytes32 measurement;
    bytes32 platform;
}

/// @notice What a caller of `register` says about a key; the quote must say the same.
struct KeyClaim {
    address operator;
    uint32 nodeIndex; // with the operator: the node that the key works for
    address key; // secp256k1 key that signs results
    bytes32 wgKey; // the node's WireGuard public key; zero: none
    uint48 challengeBlock; // number of the block whose hash is the quote's nonce
}

/// @notice Why a key counts or does not. The first reason in this order is given.
enum KeyStatus {
    Unknown, // never registered
    Good,
    KeyRevoked,
    Expired,
    VerifierRevoked,
    MeasurementRevoked,
    PlatformRevoked
}

/// @title Attest a key once, then trust its cheap signatures
/// @notice Anyone may register a key with a fresh quote that names it (`KeyReport`) and the key's own consent to what will be
/// recorded; nothing is asked of the node's hot key. Operator and node are the key's claim, signed by the attested machine:
/// they have no effect on a node that does not itself submit results of that key, and are not stored.
/// Freshness: the quote's nonce is the hash of one of the last 256 blocks, and a key takes each challenge block only once and
/// in ascending order. So a quote registers once, an older one never replaces a newer one, and no quote's hash is kept.
/// Four roles hold the lists, each held by one account, given on in two steps; nothing else here has an owner. A revoked
/// verifier or measurement that is allowed again starts anew: records from before stay dead.
interface IAttestationRegistry {
    event KeyAttested(
        address indexed key,
        address indexed operator,
        uint32 indexed nodeIndex,
        address verifier,
        bytes32 wgKey,
        bytes32 measurement,
        bytes32 platform,
        uint40 validTo,
        uint8 tier,
        uint48 challengeBlock
    );
    event KeyRevoked(address indexed key, address by);
    event VerifierAllowed(IQuoteVerifier indexed verifier, uint16 id);
    event VerifierRevoked(IQuoteVerifier indexed verifier, uint16 id);
    event MeasurementAllowed(bytes32 indexed measurement, uint32 id);
    event MeasurementRevoked(bytes32 indexed measurement, uint32 id);
    event PlatformRevoked(bytes32 indexed platform);
    event PlatformReinstated(bytes32 indexed platform);

    error VerifierNotAllowed(IQuoteVerifier verifier);
    error VerifierWithoutCode(IQuoteVerifier verifier);
    error VerifierAlreadyAllowed(IQuoteVerifier verifier, uint16 id);
    error MeasurementNotAllowed(bytes32 measurement);
    error ZeroMeasurement();
    error MeasurementAlreadyAllowed(bytes32 measurement, uint32 id);
    error PlatformIsRevoked(bytes32 platform);
    error PlatformNotRevoked(bytes32 platform);
    error KeyIsRevoked(address key);
    error ChallengeUnknown(uint48 challengeBlock, uint256 currentBlock);
    error ChallengeUsed(address key, uint48 challengeBlock, uint48 lastChallengeBlock);
    error WrongReportData(bytes32 expected, bytes32 found);
    error QuoteExpired(uint40 validTo);
    error NoTier(IQuoteVerifier verifier);
    error NoConsent(address key);

    /// @notice Records what `evidence` proves about `claim.key`, for at most `MAX_AGE`. Replaces an older record of the key.
    /// @param evidence in the encoding of `verifier`; its report data must be `KeyReport.hash` of the claim
    /// @param consent 65-byte signature by `claim.key` over the EIP-712 struct
    /// `KeyConsent(bytes32 reportData,address verifier,bytes32 measurement,bytes32 platform)`, so that nobody can put another
    /// machine's quote in the place of this one
    /// @custom:reverts VerifierNotAllowed, ChallengeUnknown, WrongReportData, QuoteExpired, NoTier,
    /// MeasurementNotAllowed, PlatformIsRevoked, KeyIsRevoked, ChallengeUsed, NoConsent; the verifier's errors
    /// @custom:emits KeyAttested
    function register(
        IQuoteVerifier verifier,
        bytes calldata evidence,
        KeyClaim calldata claim,
        bytes calldata consent
    ) external;

    /// @notice Ends a key for good. The holder of the role KEYS may, and the key itself.
    /// @custom:reverts NotHolder, KeyIsRevoked
    /// @custom:emits KeyRevoked
    function revokeKey(address key) external;

    /// @notice Role VERIFIERS. Keys registered through a revoked verifier count no more.
    /// @custom:reverts NotHolder, VerifierAlreadyAllowed, VerifierWithoutCode
    function allowVerifier(IQuoteVerifier verifier) external;

    /// @notice Role VERIFIERS: the kill switch of one verifier.
    /// @custom:reverts NotHolder, VerifierNotAllowed
    function revokeVerifier(IQuoteVerifier verifier) external;

    /// @notice Role MEASUREMENTS.
    /// @custom:reverts NotHolder, MeasurementAlreadyAllowed, ZeroMeasurement
    function allowMeasurement(bytes32 measurement) external;

    /// @notice Role MEASUREMENTS. Keys with that measurement count no more.
    /// @custom:reverts NotHolder, MeasurementNotAllowed
    function revokeMeasurement(bytes32 measurement) external;

    /// @notice Role PLATFORMS. Keys on that platform count no more, whoever vouches for them.
    /// @custom:reverts NotHolder, PlatformIsRevoked
    function revokePlatform(bytes32 platform) external;

    /// @notice Role PLATFORMS: takes a revocation back; unexpired keys count again.
    /// @custom:reverts NotHolder, PlatformNotRevoked
    function reinstatePlatform(bytes32 platform) external;

    /// @notice The record of a key that counts now; all zero when it is unknown, expired or revoked in any way.
    function keyOf(address key) external view returns (AttestedKey memory);

    /// @notice Why `keyOf` says what it says.
    function statusOf(address key) external view returns (KeyStatus);

    /// @notice Number of the block whose hash the key's last quote named; zero: never registered.
    function challengeOf(address key) external view returns (uint48);
    function verifierAllowed(IQuoteVerifier verifier) external view returns (bool);
    function measurementAllowed(bytes32 measurement) external view returns (bool);
    function platformRevoked(bytes32 platform) external view returns (bool);

    /// @notice Seconds that a record lasts at most.
    function MAX_AGE() external view returns (uint40); // solhint-disable-line func-name-mixedcase
}
