// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {AttestedKey, IAttestationRegistry, KeyClaim, KeyStatus} from "./IAttestationRegistry.sol";
import {IQuoteVerifier, Quote} from "./IQuoteVerifier.sol";
import {KeyReport} from "./KeyReport.sol";
import {Roles} from "./Roles.sol";

/// @title The registry of attested keys; IAttestationRegistry is its manual
contract AttestationRegistry is IAttestationRegistry, Roles, EIP712 {
    /// @dev Two slots. Verifier and measurement are numbers given out when they are allowed: they fit into one slot, and a
    /// number that was revoked is never given out again.
    struct Record {
        // slot 0
        uint40 validTo;
        uint48 challengeBlock;
        uint8 tier;
        uint16 verifierId;
        uint32 measurementId;
        bool revoked;
        // slot 1
        bytes32 platform;
    }

    bytes32 public constant VERIFIERS = "VERIFIERS";
    bytes32 public constant MEASUREMENTS = "MEASUREMENTS";
    bytes32 public constant PLATFORMS = "PLATFORMS";
    bytes32 public constant KEYS = "KEYS";

    /// @inheritdoc IAttestationRegistry
    uint40 public constant MAX_AGE = 24 hours;

    bytes32 private constant KEY_CONSENT_TYPEHASH =
        keccak256("KeyConsent(bytes32 reportData,address verifier,bytes32 measurement,bytes32 platform)");

    mapping(address key => Record) private _records;
    mapping(IQuoteVerifier verifier => uint16 id) private _verifierIds; // zero: not allowed
    mapping(uint16 id => IQuoteVerifier verifier) private _verifiers; // zero: revoked
    mapping(bytes32 measurement => uint32 id) private _measurementIds; // zero: not allowed
    mapping(uint32 id => bytes32 measurement) private _measurements; // zero: revoked
    uint16 private _lastVerifierId;
    uint32 private _lastMeasurementId;

    /// @inheritdoc IAttestationRegistry
    mapping(bytes32 platform => bool) public platformRevoked;

    /// @dev The holders may be the same account.
    constructor(address verifiers, address measurements, address platforms, address keys)
        EIP712("Berth Attestation", "1")
    {
        _giveRole(VERIFIERS, verifiers);
        _giveRole(MEASUREMENTS, measurements);
        _giveRole(PLATFORMS, platforms);
        _giveRole(KEYS, keys);
    }

    /// @inheritdoc IAttestationRegistry
    function register(
        IQuoteVerifier verifier,
        bytes calldata evidence,
        KeyClaim calldata claim,
        bytes calldata consent
    ) external {
        uint16 verifierId = _verifierIds[verifier];
        if (verifierId == 0) revert VerifierNotAllowed(verifier);
        bytes32 reportData = _reportData(claim);
        // Foreign code runs here and only here. What can change meanwhile is read afterwards; a verifier that is revoked
        // meanwhile leaves a number that counts no more.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        Quote memory quote = verifier.verify(evidence);
        if (quote.reportData != reportData) revert WrongReportData(reportData, quote.reportData);
        if (quote.validTo < block.timestamp) revert QuoteExpired(quote.validTo);
        if (quote.tier == 0) revert NoTier(verifier);
        uint32 measurementId = _measurementIds[quote.measurement];
        if (measurementId == 0) revert MeasurementNotAllowed(quote.measurement);
        if (platformRevoked[quote.platform]) revert PlatformIsRevoked(quote.platform);
        Record storage record = _records[claim.key];
        if (record.revoked) revert KeyIsRevoked(claim.key);
        if (claim.challengeBlock <= record.challengeBlock) {
            revert ChallengeUsed(claim.key, claim.challengeBlock, record.challengeBlock);
        }
        _requireConsent(verifier, quote, claim.key, consent);

        uint40 validTo = uint40(block.timestamp) + MAX_AGE;
        if (quote.validTo < validTo) validTo = quote.validTo;
        _records[claim.key] =
            Record(validTo, claim.challengeBlock, quote.tier, verifierId, measurementId, false, quote.platform);
        _announce(verifier, quote, claim, validTo);
    }

    /// @inheritdoc IAttestationRegistry
    function revokeKey(address key) external {
        if (msg.sender != key) _requireHolder(KEYS);
        if (_records[key].revoked) revert KeyIsRevoked(key);
        _records[key].revoked = true;
        emit KeyRevoked(key, msg.sender);
    }

    /// @inheritdoc IAttestationRegistry
    function allowVerifier(IQuoteVerifier verifier) external onlyHolder(VERIFIERS) {
        if (address(verifier).code.length == 0) revert VerifierWithoutCode(verifier);
        uint16 id = _verifierIds[verifier];
        if (id != 0) revert VerifierAlreadyAllowed(verifier, id);
        id = ++_lastVerifierId;
        _verifierIds[verifier] = id;
        _verifiers[id] = verifier;
        emit VerifierAllowed(verifier, id);
    }

    /// @inheritdoc IAttestationRegistry
    function revokeVerifier(IQuoteVerifier verifier) external onlyHolder(VERIFIERS) {
        uint16 id = _verifierIds[verifier];
        if (id == 0) revert VerifierNotAllowed(verifier);
        delete _verifierIds[verifier];
        delete _verifiers[id];
        emit VerifierRevoked(verifier, id);
    }

    /// @inheritdoc IAttestationRegistry
    function allowMeasurement(bytes32 measurement) external onlyHolder(MEASUREMENTS) {
        if (measurement == 0) revert ZeroMeasurement();
        uint32 id = _measurementIds[measurement];
        if (id != 0) revert MeasurementAlreadyAllowed(measurement, id);
        id = ++_lastMeasurementId;
        _measurementIds[measurement] = id;
        _measurements[id] = measurement;
        emit MeasurementAllowed(measurement, id);
    }

    /// @inheritdoc IAttestationRegistry
    function revokeMeasurement(bytes32 measurement) external onlyHolder(MEASUREMENTS) {
        uint32 id = _measurementIds[measurement];
        if (id == 0) revert MeasurementNotAllowed(measurement);
        delete _measurementIds[measurement];
        delete _measurements[id];
        emit MeasurementRevoked(measurement, id);
    }

    /// @inheritdoc IAttestationRegistry
    function revokePlatform(bytes32 platform) external onlyHolder(PLATFORMS) {
        if (platformRevoked[platform]) revert PlatformIsRevoked(platform);
        platformRevoked[platform] = true;
        emit PlatformRevoked(platform);
    }

    /// @inheritdoc IAttestationRegistry
    function reinstatePlatform(bytes32 platform) external onlyHolder(PLATFORMS) {
        if (!platformRevoked[platform]) revert PlatformNotRevoked(platform);
        platformRevoked[platform] = false;
        emit PlatformReinstated(platform);
    }

    /// @inheritdoc IAttestationRegistry
    function keyOf(address key) external view returns (AttestedKey memory attested) {
        (KeyStatus status, AttestedKey memory known) = _look(key);
        if (status == KeyStatus.Good) attested = known;
    }

    /// @inheritdoc IAttestationRegistry
    function statusOf(address key) external view returns (KeyStatus status) {
        (status,) = _look(key);
    }

    /// @inheritdoc IAttestationRegistry
    function challengeOf(address key) external view returns (uint48) {
        return _records[key].challengeBlock;
    }

    /// @inheritdoc IAttestationRegistry
    function verifierAllowed(IQuoteVerifier verifier) external view returns (bool) {
        return _verifierIds[verifier] != 0;
    }

    /// @inheritdoc IAttestationRegistry
    function measurementAllowed(bytes32 measurement) external view returns (bool) {
        return _measurementIds[measurement] != 0;
    }

    /// @dev `known` is whole when the key is good, and means nothing otherwise.
    function _look(address key) private view returns (KeyStatus status, AttestedKey memory known) {
        Record storage stored = _records[key];
        if (stored.revoked) return (KeyStatus.KeyRevoked, known);
        if (stored.validTo == 0) return (KeyStatus.Unknown, known);
        if (stored.validTo < block.timestamp) return (KeyStatus.Expired, known);
        known.verifier = address(_verifiers[stored.verifierId]);
        if (known.verifier == address(0)) return (KeyStatus.VerifierRevoked, known);
        known.measurement = _measurements[stored.measurementId];
        if (known.measurement == 0) return (KeyStatus.MeasurementRevoked, known);
        known.platform = stored.platform;
        if (platformRevoked[known.platform]) return (KeyStatus.PlatformRevoked, known);
        (known.validTo, known.tier) = (stored.validTo, stored.tier);
        return (KeyStatus.Good, known);
    }

    function _reportData(KeyClaim calldata claim) private view returns (bytes32) {
        // Zero for this block, those to come, and all but the last 256.
        bytes32 nonce = blockhash(claim.challengeBlock);
        if (nonce == 0) revert ChallengeUnknown(claim.challengeBlock, block.number);
        return KeyReport.hash(
            KeyReport.Fields(
                block.chainid, address(this), claim.operator, claim.nodeIndex, claim.key, claim.wgKey, nonce
            )
        );
    }

    function _requireConsent(IQuoteVerifier verifier, Quote memory quote, address key, bytes calldata consent)
        private
        view
    {
        bytes32 structHash = keccak256(
            abi.encode(KEY_CONSENT_TYPEHASH, quote.reportData, verifier, quote.measurement, quote.platform)
        );
        // That recovery failed is enough; how it failed concerns nobody.
        // slither-disable-next-line unused-return
        (address signer, ECDSA.RecoverError failure,) =
            ECDSA.tryRecoverCalldata(_hashTypedDataV4(structHash), consent);
        if (failure != ECDSA.RecoverError.NoError || signer != key) revert NoConsent(key);
    }

    function _announce(IQuoteVerifier verifier, Quote memory quote, KeyClaim calldata claim, uint40 validTo) private {
        emit KeyAttested(
            claim.key,
            claim.operator,
            claim.nodeIndex,
            address(verifier),
            claim.wgKey,
            quote.measurement,
            quote.platform,
            validTo,
            quote.tier,
            claim.challengeBlock
        );
    }
}
