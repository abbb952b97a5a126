// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice One provider machine as contracts and the mesh see it.
struct Node {
    address key; // hot key: signs offers, submits results
    uint40 validTo; // unix seconds: the last second in which the key counts
    uint56 prefix; // bits 8…63 of the node's IPv6 /64; the first 8 bits are 0xfd
    bytes32 wgKey; // WireGuard public key (X25519, 32 bytes)
    uint32 keyVersion; // grows by one with every publication
    bytes24 servicesHash; // commits to the three texts of NodeProfile
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
    string profileCid; // CID of the node's public profile document; empty: none
}

/// @title Decentralized identities (did:ethr, ERC-1056) with the node keys that contracts must read
/// @notice Events are byte for byte those of ERC-1056, so `ethr-did-resolver` resolves every identity here.
/// Differences from the standard: a deactivated identity stays deactivated, and its last owner can still withdraw
/// (`controllerOf`); the unbound `…Signed` functions are absent, because their signatures replay across chains.
///
/// Each call that changes an identity has a twin, `…Signed`, that anybody may send for its controller. The controller (an
/// account, or a wallet by ERC-1271) signs an EIP-712 struct of the domain "Berth Identity", "1", this chain and this
/// contract. It is named as the call, has the call's parameters under their names and types (but for `keyProof`), and
/// ends in `uint48 nonce,uint40 deadline`: `ChangeOwner(address identity,address newOwner,uint48 nonce,uint40 deadline)`.
/// Nonces are counted per identity, so calls take effect in the order in which they were signed: an old rotation cannot
/// undo a newer one; and the counter lies in a slot that every call writes anyway. A signed call that was not used stays
/// good until its deadline, unless `burnNonces` or a change of owner voids it.
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
        string contentUrl,
        string profileCid
    );
    /// @notice A node's keys stopped counting.
    event NodeRevoked(address indexed operator, uint32 indexed index);
    /// @notice Calls signed for nonces below `nextNonce` are void.
    event NoncesBurned(address indexed identity, uint48 nextNonce);

    error NotController(address identity, address caller, address controller);
    error IdentityDeactivated(address identity);
    error BadKeyProof(address operator, uint32 index, address key);
    error KeyTaken(address key);
    error PrefixTaken(uint56 prefix);
    error NodeUnknown(address operator, uint32 index);
    error ZeroKey();
    error ExpiryPassed(uint40 validTo);
    error DelegateIsNodeKey(address operator, uint32 index, address key);
    error DeadlinePassed(uint40 deadline);
    error BadControllerSignature(address identity, address controller, uint48 nonce);

    /// @notice Publishes a node, or replaces what was published: hot key as a `veriKey` delegate; WireGuard key, endpoints
    /// and profile as DID attributes; and all of it in storage, the texts as `Node.servicesHash`, the first 24 bytes of
    /// `keccak256(abi.encode(keccak256(wgEndpoint), keccak256(contentUrl), keccak256(profileCid)))`: a contract that is
    /// shown one text and two hashes can check it, and four slots hold everything.
    /// A replaced WireGuard key is revoked in the same transaction. A replaced hot key signs no more offers, but for one
    /// hour it may finish what it runs (`mayAct`) and stays a `veriKey`, though never past its own `validTo`; the one
    /// replaced before it ends now. An hour lets transactions under way be mined and a daemon restart with the new key.
    /// A key that may be in wrong hands gets no such hour when `revokeNode` comes first. A key never serves another node,
    /// and comes back to its own only as its last or its replaced key.
    /// Texts that changed lapse at their `validTo`, or by `revokeAttribute`.
    /// @param keyProof signature by `profile.key` over the EIP-712 struct
    /// `NodeKey(address operator,uint32 index,bytes32 wgKey)`, so that nobody binds a key that is not theirs
    /// @custom:reverts NotController, IdentityDeactivated, BadKeyProof, KeyTaken, PrefixTaken, ZeroKey, ExpiryPassed;
    /// GasTooLow when `profile.key` is a wallet and there is too little gas to ask it
    /// @custom:emits NodePublished and the ERC-1056 events
    function publishNode(address operator, NodeProfile calldata profile, bytes calldata keyProof) external;

    /// @notice Takes a node out of service: its key, the replaced one and the WireGuard key are revoked, the mesh prefix
    /// is freed. Works on a deactivated identity too. Texts lapse at `validTo` or by `revokeAttribute`.
    /// @custom:reverts NotController, NodeUnknown
    /// @custom:emits NodeRevoked and the ERC-1056 events
    function revokeNode(address operator, uint32 index) external;

    /// @notice The stored node; all zero when never published or revoked.
    function nodeOf(address operator, uint32 index) external view returns (Node memory);

    /// @notice Whose signature makes an offer of the node: zero when never published, revoked, or the operator is
    /// deactivated. Whether `validTo` is far enough away is for the caller to say.
    function signerOf(address operator, uint32 index) external view returns (address key, uint40 validTo);

    /// @notice May `caller` finish what the node runs? Yes for its current key, even when that expired or the operator was
    /// deactivated; for the replaced key in its last hour; and always for the operator's controller. A running job is
    /// never stranded. After `revokeNode`, which means that keys are in wrong hands, only the controller may.
    function mayAct(address operator, uint32 index, address caller) external view returns (bool);

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

    /// @notice The nonce of the next signed call of `identity`.
    function nonceOf(address identity) external view returns (uint48);

    /// @notice Skips `count` nonces, so that the calls signed for them are void. Works on a deactivated identity too.
    /// @custom:reverts NotController
    /// @custom:emits NoncesBurned
    function burnNonces(address identity, uint16 count) external;

    /// @notice Gives the identity to `newOwner`; zero deactivates it for good. Skips a nonce: a call that the owner signed
    /// and nobody used stays void when the identity comes back to it. Calls signed further ahead are for `burnNonces`.
    /// @custom:reverts NotController, IdentityDeactivated
    function changeOwner(address identity, address newOwner) external;

    /// @notice Adds a delegate for `validity` seconds; past the end of time counts as for ever.
    /// @custom:reverts NotController, IdentityDeactivated; DelegateIsNodeKey for a `veriKey` that is the last or the
    /// replaced key of a node of this identity: those come and go by `publishNode` and `revokeNode`
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

    /// @notice `changeOwner`, signed by the controller. What follows is the same for every signed call.
    /// @param deadline unix seconds: the last second in which the signature counts
    /// @custom:reverts DeadlinePassed; BadControllerSignature, also for a nonce that is not next; GasTooLow when the
    /// controller is a wallet and there is too little gas to ask it; then as the call itself
    function changeOwnerSigned(address identity, address newOwner, uint40 deadline, bytes calldata signature) external;

    function addDelegateSigned(
        address identity,
        bytes32 delegateType,
        address delegate,
        uint256 validity,
        uint40 deadline,
        bytes calldata signature
    ) external;

    function revokeDelegateSigned(
        address identity,
        bytes32 delegateType,
        address delegate,
        uint40 deadline,
        bytes calldata signature
    ) external;

    function setAttributeSigned(
        address identity,
        bytes32 name,
        bytes calldata value,
        uint256 validity,
        uint40 deadline,
        bytes calldata signature
    ) external;

    function revokeAttributeSigned(
        address identity,
        bytes32 name,
        bytes calldata value,
        uint40 deadline,
        bytes calldata signature
    ) external;

    function publishNodeSigned(
        address operator,
        NodeProfile calldata profile,
        bytes calldata keyProof,
        uint40 deadline,
        bytes calldata signature
    ) external;

    function revokeNodeSigned(address operator, uint32 index, uint40 deadline, bytes calldata signature) external;
}
