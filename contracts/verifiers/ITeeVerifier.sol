// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IAttestationRegistry} from "../attestation/IAttestationRegistry.sol";
import {IVerifier} from "../market/IVerifier.sol";
import {Claim, JobId} from "../market/Orders.sol";

/// @notice Which attested keys may sign the results of a job. `verifierData` of both orders is keccak256(abi.encode(policy)).
struct TeePolicy {
    uint8 minTier; // of the key's platform: 3 up to date, 1 lowest that counts
    address[] quoteVerifiers; // one of them must vouch for the key
    bytes32[] measurements; // one of them must be what runs beside the key
}

/// @title Results stand when an attested key signed them
/// @notice The proof is `abi.encode(policy, signature)`. The signature is made by a key that the registry knows as attested,
/// unexpired and unrevoked, over the EIP-712 struct
/// `AttestedResult(bytes32 jobId,uint16 replica,bytes32 claimHash)`; `claimHash` is keccak256(abi.encode(claim)).
/// A result stands or fails at once, so with a challenge window of zero it is paid in the transaction that submits it.
/// The registry does not say whose machine a key lives in, and it need not: only the assigned node submits, the key signs for
/// this replica alone, and what the key may sign is decided by the measured code.
/// A proof that cannot be read fails like one that is wrong. Failing at the submission changes nothing: the node may submit
/// again while its time lasts. A proof so long that reading it takes all gas leaves the replica undecided, and then it fails.
interface ITeeVerifier is IVerifier {
    /// @notice Reads a proof. Reverts when it is malformed.
    function decode(bytes calldata proof) external pure returns (TeePolicy memory policy, bytes memory signature);

    /// @notice What an attested key signs for a result.
    function hashResult(JobId jobId, uint16 replica, Claim calldata claim) external view returns (bytes32);

    function registry() external view returns (IAttestationRegistry);
}
