// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The 32 bytes that a TEE or TPM signs for one replica
/// @notice The same definition as `protocol/src/report-data.ts`; both are held to the same vectors.
library ReportData {
    /// @dev Separates report data from every other hash that a TEE might be asked to sign.
    bytes32 internal constant DOMAIN = keccak256("berth/report-data/v1");

    /// @dev The order of the fields is the order in which they are hashed.
    struct Fields {
        uint256 chainId;
        address market;
        bytes32 jobId;
        uint16 replica; // which of the job's replicas, from 0
        address operator;
        uint32 nodeIndex;
        bytes32 specHash;
        bytes32 imageDigest; // sha256 of the OCI platform manifest
        bytes32 policyHash;
        bytes32 wgKey; // WireGuard public key; zero where the job has no mesh
        address resultSigner;
        bytes32 nonce; // from jobNonce
    }

    /// @notice What a quote for this replica must carry, followed by zeros where the field is 64 bytes long.
    function hash(Fields memory fields) internal pure returns (bytes32) {
        // A struct of static types is encoded in line, as if its members were the arguments.
        return keccak256(abi.encode(DOMAIN, fields));
    }

    /// @notice What makes a quote fresh: unknown before the match, computable by anyone after it.
    /// @param offerHash EIP-712 hash of the matched offer
    /// @param matchedAt unix seconds of the block that holds the match
    /// @param jobId commits to the request and so to its nonce
    function jobNonce(bytes32 offerHash, uint40 matchedAt, bytes32 jobId) internal pure returns (bytes32) {
        return keccak256(abi.encode(offerHash, matchedAt, jobId));
    }
}
