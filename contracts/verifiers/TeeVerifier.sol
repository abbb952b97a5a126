// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {AttestedKey, IAttestationRegistry} from "../attestation/IAttestationRegistry.sol";
import {IVerifier, Verdict} from "../market/IVerifier.sol";
import {Claim, JobId, Terms} from "../market/Orders.sol";
import {ITeeVerifier} from "./ITeeVerifier.sol";

/// @title Results signed in a TEE; ITeeVerifier is its manual
/// @dev Everything is read in place with its bounds checked, and nothing here reverts: a revert would count as Pending.
contract TeeVerifier is ITeeVerifier, EIP712 {
    /// @inheritdoc ITeeVerifier
    /// @dev With this the judge stays far inside the market's gas cap, whatever the node sends.
    uint256 public constant MAX_POLICY_BYTES = 4096;

    bytes32 private constant RESULT_TYPEHASH =
        keccak256("AttestedResult(bytes32 jobId,uint16 replica,bytes32 claimHash)");
    uint256 private constant SIGNATURE_BYTES = 65;
    uint256 private constant HEAD_BYTES = 2;

    /// @inheritdoc ITeeVerifier
    IAttestationRegistry public immutable registry;

    constructor(IAttestationRegistry registry_) EIP712("Berth TEE", "1") {
        registry = registry_;
    }

    /// @inheritdoc IVerifier
    function judge(Terms calldata terms, Claim calldata claim, bytes calldata proof) external view returns (Verdict) {
        if (proof.length < SIGNATURE_BYTES + HEAD_BYTES) return Verdict.Fails;
        bytes calldata policy = proof[SIGNATURE_BYTES:];
        if (policy.length > MAX_POLICY_BYTES || keccak256(policy) != terms.job.verifierData) return Verdict.Fails;
        bytes32 digest = hashResult(terms.job.jobId, terms.assignment.replica, claim);
        // That recovery failed is enough; how it failed concerns nobody.
        // slither-disable-next-line unused-return
        (address key, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, proof[:SIGNATURE_BYTES]);
        if (failure != ECDSA.RecoverError.NoError) return Verdict.Fails;
        return _allows(policy, registry.keyOf(key)) ? Verdict.Stands : Verdict.Fails;
    }

    /// @inheritdoc ITeeVerifier
    function hashResult(JobId jobId, uint16 replica, Claim calldata claim) public view returns (bytes32) {
        bytes32 claimHash = keccak256(abi.encode(claim));
        return _hashTypedDataV4(keccak256(abi.encode(RESULT_TYPEHASH, jobId, replica, claimHash)));
    }

    /// @param policy longer than its head
    /// @param known all zero when the key does not count
    function _allows(bytes calldata policy, AttestedKey memory known) private pure returns (bool) {
        uint256 verifiers = uint8(policy[1]);
        uint256 measurementsAt = HEAD_BYTES + 20 * verifiers;
        if (policy.length < measurementsAt || (policy.length - measurementsAt) % 32 != 0) return false;
        if (known.verifier == address(0) || known.tier < uint8(policy[0])) return false;
        bool vouched = false;
        for (uint256 i = HEAD_BYTES; i < measurementsAt && !vouched; i += 20) {
            vouched = address(bytes20(policy[i:i + 20])) == known.verifier;
        }
        for (uint256 i = measurementsAt; i < policy.length && vouched; i += 32) {
            if (bytes32(policy[i:i + 32]) == known.measurement) return true;
        }
        return false;
    }
}
