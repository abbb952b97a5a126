// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {AttestedKey, IAttestationRegistry} from "../attestation/IAttestationRegistry.sol";
import {IVerifier, Verdict} from "../market/IVerifier.sol";
import {Claim, JobId, Terms} from "../market/Orders.sol";
import {ITeeVerifier, TeePolicy} from "./ITeeVerifier.sol";

/// @title Results signed in a TEE; ITeeVerifier is its manual
contract TeeVerifier is ITeeVerifier, EIP712 {
    bytes32 private constant RESULT_TYPEHASH =
        keccak256("AttestedResult(bytes32 jobId,uint16 replica,bytes32 claimHash)");

    /// @inheritdoc ITeeVerifier
    IAttestationRegistry public immutable registry;

    constructor(IAttestationRegistry registry_) EIP712("Berth TEE", "1") {
        registry = registry_;
    }

    /// @inheritdoc IVerifier
    function judge(Terms calldata terms, Claim calldata claim, bytes calldata proof) external view returns (Verdict) {
        // A call to itself: what cannot be decoded reverts there, and here it is an answer.
        try this.decode(proof) returns (TeePolicy memory policy, bytes memory signature) {
            if (keccak256(abi.encode(policy)) != terms.job.verifierData) return Verdict.Fails;
            bytes32 digest = hashResult(terms.job.jobId, terms.assignment.replica, claim);
            (address key, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, signature);
            bool stands = failure == ECDSA.RecoverError.NoError && _allows(policy, registry.keyOf(key));
            return stands ? Verdict.Stands : Verdict.Fails;
        } catch {
            return Verdict.Fails;
        }
    }

    /// @inheritdoc ITeeVerifier
    function decode(bytes calldata proof) external pure returns (TeePolicy memory policy, bytes memory signature) {
        return abi.decode(proof, (TeePolicy, bytes));
    }

    /// @inheritdoc ITeeVerifier
    function hashResult(JobId jobId, uint16 replica, Claim calldata claim) public view returns (bytes32) {
        bytes32 claimHash = keccak256(abi.encode(claim));
        return _hashTypedDataV4(keccak256(abi.encode(RESULT_TYPEHASH, jobId, replica, claimHash)));
    }

    /// @param known all zero when the key does not count
    function _allows(TeePolicy memory policy, AttestedKey memory known) private pure returns (bool) {
        if (known.verifier == address(0) || known.tier < policy.minTier) return false;
        bool vouched = false;
        for (uint256 i = 0; i < policy.quoteVerifiers.length && !vouched; ++i) {
            vouched = policy.quoteVerifiers[i] == known.verifier;
        }
        if (!vouched) return false;
        for (uint256 i = 0; i < policy.measurements.length; ++i) {
            if (policy.measurements[i] == known.measurement) return true;
        }
        return false;
    }
}
