// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The 32 bytes that a TEE or TPM signs to have a node's result key attested
/// @notice The node scope of evidence; the job scope is `ReportData`. The domain keeps the two apart.
library KeyReport {
    /// @dev Separates key reports from every other hash that a TEE might be asked to sign.
    bytes32 internal constant DOMAIN = keccak256("berth/key-report/v1");

    /// @dev The order of the fields is the order in which they are hashed.
    struct Fields {
        uint256 chainId;
        address registry;
        address operator;
        uint32 nodeIndex;
        address key; // signs results
        bytes32 wgKey; // WireGuard public key; zero: none
        bytes32 nonce; // hash of a recent block of that chain
    }

    /// @notice What a quote for this key must carry, followed by zeros where the field is 64 bytes long.
    function hash(Fields memory fields) internal pure returns (bytes32) {
        // A struct of static types is encoded in line, as if its members were the arguments.
        return keccak256(abi.encode(DOMAIN, fields));
    }
}
