// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice One provider machine as contracts and the mesh see it.
struct Node {
    // slot 0
    address key; // hot key: signs offers, submits results
    uint40 validTo; // unix seconds: the last second in which the key counts
    uint56 prefix; // bits 8…63 of the node's IPv6 /64; the first 8 bits are 0xfd
    // slot 1
    bytes32 wgKey; // WireGuard public key (X25519, 32 bytes)
    // kept with the key
    uint32 keyVersion; // grows by one with every publication
}

/// @notice What an operator publishes about a node.
struct NodeProfile {
    uint32 index; // with the operator: the node id
    address key;
    bytes32 wgKey;
    uint64 salt; // changes the mesh prefix when the derived one is taken
    uint40 validTo; // unix seconds
    string wgEndpoint; // "host:port" of the WireGuard socket; empty: none
    string contentUrl; // base URL of the node's content gateway; empty: none
}

/// @title Decentralized identities (did:ethr, ERC-1056) with the node keys that contracts must read
/// @notice Events are byte for byte those of ERC-1056, so `ethr-did-resolver` resolves every identity here.
/// Differences from the standard: a deactivated identity stays deactivated, and its last owner can still withdraw
/// (`controllerOf`); the unbound `…Signed` functions are absent, because their signatures replay across chains.
interface IIdentityRegistry {
    event DIDOwnerChanged(address indexed identity, address owner, uint256 previousChange);
    event DIDDelegateChanged(
        address indexed identity, bytes32 delegateType, address delegate, uint256 validTo, uint256 previousChange
    );
    event DIDAttributeChanged(
        address indexed identity, bytes32 name, bytes value, uint256 validTo, uint256 previousChange
    );

    /// @notice A node was published or its keys were rotated.
    event NodePublished(
        address indexed operator,
        uint32 indexed index,
        address key,
        bytes32 wgKey,
        uint56 prefix,
        uint40 validTo,
        uint32 keyVersion,
        string wgEndpoint,
        string contentUrl
    );
    /// @notice A node's keys stopped counting.
    event NodeRevoked(address indexed operator, uint32 indexed index);

    error NotController(address identity, address caller, address controller);
    error IdentityDeactivated(address identity);
    error BadKeyProof(address operator, uint32 index, address key);
    error KeyTaken(address key, address operator, uint32 index);
    error PrefixTaken(uint56 prefix, address operator, uint32 index);
    error NodeUnknown(address operator, uint32 index);
    error ZeroKey();
    error ExpiryPassed(uint40 validTo);
    error DelegateIsNodeKey(address operator, uint32 index, address key);

    /// @notice Publishes a node, or replaces what was published: hot key as a `veriKey` delegate, WireGuard key and
    /// endpoints as DID attributes, and all of it in storage. A replaced key is revoked in the same transaction
    /// and never serves another node. Endpoints that changed lapse at their `validTo`, or by `revokeAttribute`.
    /// @param keyProof signature by `profile.key` over the EIP-712 struct
    /// `NodeKey(address operator,uint32 index,bytes32 wgKey)`, so that nobody binds a key that is not theirs
    /// @custom:reverts NotController, IdentityDeactivated, BadKeyProof, KeyTaken, PrefixTaken, ZeroKey, ExpiryPassed
    /// @custom:emits NodePublished and the ERC-1056 events
    function publishNode(address operator, NodeProfile calldata profile, bytes calldata keyProof) external;

    /// @notice Takes a node out of service: delegate and WireGuard key are revoked, the mesh prefix is freed. Works on a
    /// deactivated identity too. Endpoints are not stored: their attributes lapse at `validTo` or by `revokeAttribute`.
    /// @custom:reverts NotController, NodeUnknown
    /// @custom:emits NodeRevoked and the ERC-1056 events
    function revokeNode(address operator, uint32 index) external;

    /// @notice The stored node; all zero when never published or revoked.
    function nodeOf(address operator, uint32 index) external view returns (Node memory);

    /// @notice The part of `nodeOf` that the market reads: zero when never published or revoked.
    function keyOf(address operator, uint32 index) external view returns (address key, uint40 validTo);

    /// @notice The first 56 bits of
    /// `keccak256(abi.encode(keccak256("berth/mesh/v1"), chainId, registry, operator, index, salt))`.
    function meshPrefix(address operator, uint32 index, uint64 salt) external view returns (uint56);

    /// @notice Owner per ERC-1056: the identity itself until changed, zero when deactivated.
    function identityOwner(address identity) external view returns (address);

    /// @notice Who controls money and nodes of `identity`: its owner, or its last owner once deactivated.
    function controllerOf(address identity) external view returns (address);

    /// @notice Has `identity` been deactivated? There is no way back.
    function deactivated(address identity) external view returns (bool);

    /// @notice Block number of the last change of `identity`, for resolvers. Zero: never.
    function changed(address identity) external view returns (uint256);

    /// @notice Gives the identity to `newOwner`; zero deactivates it for good.
    /// @custom:reverts NotController, IdentityDeactivated
    function changeOwner(address identity, address newOwner) external;

    /// @notice Adds a delegate for `validity` seconds.
    /// @custom:reverts NotController, IdentityDeactivated; DelegateIsNodeKey for the `veriKey` of a published node, which
    /// comes and goes by `publishNode` and `revokeNode`
    function addDelegate(address identity, bytes32 delegateType, address delegate, uint256 validity) external;

    /// @notice Ends a delegation now.
    /// @custom:reverts as `addDelegate`
    function revokeDelegate(address identity, bytes32 delegateType, address delegate) external;

    /// @notice Is `delegate` valid at this block's time?
    function validDelegate(address identity, bytes32 delegateType, address delegate) external view returns (bool);

    /// @notice Publishes an attribute (event only) for `validity` seconds.
    function setAttribute(address identity, bytes32 name, bytes calldata value, uint256 validity) external;

    /// @notice Revokes an attribute (event only).
    function revokeAttribute(address identity, bytes32 name, bytes calldata value) external;
}
