// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IAttestationRegistry} from "../attestation/IAttestationRegistry.sol";
import {IVerifier} from "../market/IVerifier.sol";
import {Claim, JobId} from "../market/Orders.sol";

/// @title Results stand when an attested key signed them
/// @notice Both orders name a policy, whose keccak256 is `verifierData`. Its bytes, packed:
///
/// | bytes | what |
/// |---|---|
/// | 1 | the lowest tier of the key's platform: 3 up to date, 1 lowest that counts |
/// | 1 | how many quote verifiers follow |
/// | 20 each | quote verifiers; one of them must vouch for the key |
/// | 32 each, to the end | measurements; one of them must be what runs beside the key |
///
/// The proof is a signature of 65 bytes, then the policy. The signature is made by a key that the registry knows as attested,
/// unexpired and unrevoked, over the EIP-712 struct `AttestedResult(bytes32 jobId,uint16 replica,bytes32 claimHash)`;
/// `claimHash` is keccak256(abi.encode(claim)).
///
/// The answer is Stands or Fails at once, so with a challenge window of zero a result is paid in the transaction that submits
/// it. A proof or a policy that cannot be read Fails. To fail at the submission changes nothing: the node may submit again
/// while its time lasts.
/// The registry does not say whose machine a key lives in, and it need not: only the assigned node submits, the key signs for
/// this replica alone, and the measured code decides what the key signs.
interface ITeeVerifier is IVerifier {
    /// @notice What an attested key signs for a result.
    function hashResult(JobId jobId, uint16 replica, Claim calldata claim) external view returns (bytes32);

    function registry() external view returns (IAttestationRegistry);
    /// @notice Longer policies fail.
    function MAX_POLICY_BYTES() external view returns (uint256); // solhint-disable-line func-name-mixedcase
}
