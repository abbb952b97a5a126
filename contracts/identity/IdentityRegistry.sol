// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IIdentityRegistry, Node, NodeProfile} from "./IIdentityRegistry.sol";

/// @title The identity registry; IIdentityRegistry is its manual
contract IdentityRegistry is IIdentityRegistry, EIP712 {
    /// @dev One slot, so that publishing a node touches the identity once.
    struct Identity {
        address owner; // zero: the identity itself
        uint88 changed; // block number of the last change
        bool deactivated; // `owner` is then the last owner
    }

    /// @dev One slot. Written once per key and kept for good: a key serves one node in its life.
    struct Binding {
        address operator;
        uint32 index;
        uint32 keyVersion;
    }

    /// @dev One slot.
    struct PrefixHolder {
        address operator;
        uint32 index;
    }

    /// @dev Two slots. A revoked node keeps its key with `validTo` zero, so that its key version goes on.
    struct Record {
        address key;
        uint40 validTo;
        uint56 prefix;
        bytes32 wgKey;
    }

    bytes32 private constant NODE_KEY_TYPEHASH = keccak256("NodeKey(address operator,uint32 index,bytes32 wgKey)");
    bytes32 private constant MESH_DOMAIN = keccak256("berth/mesh/v1");
    bytes32 private constant NODE_DELEGATE = "veriKey";
    bytes32 private constant WG_KEY = "did/pub/X25519/enc/base64";
    bytes32 private constant WG_ENDPOINT = "did/svc/BerthWireGuard";
    bytes32 private constant CONTENT_URL = "did/svc/BerthContent";

    mapping(address identity => Identity) private _identities;
    mapping(address identity => mapping(bytes32 delegateType => mapping(address delegate => uint256 validTo))) private
        _delegates;
    mapping(address operator => mapping(uint32 index => Record)) private _nodes;
    mapping(address key => Binding) private _bindings;
    mapping(uint56 prefix => PrefixHolder) private _prefixes;

    modifier onlyController(address identity) {
        address controller = controllerOf(identity);
        if (msg.sender != controller) revert NotController(identity, msg.sender, controller);
        _;
    }

    modifier whileActive(address identity) {
        if (_identities[identity].deactivated) revert IdentityDeactivated(identity);
        _;
    }

    constructor() EIP712("Berth Identity", "1") {}

    /// @inheritdoc IIdentityRegistry
    function publishNode(address operator, NodeProfile calldata profile, bytes calldata keyProof)
        external
        onlyController(operator)
        whileActive(operator)
    {
        if (profile.key == address(0) || profile.wgKey == 0) revert ZeroKey();
        if (profile.validTo <= block.timestamp) revert ExpiryPassed(profile.validTo);
        _requireKeyProof(operator, profile, keyProof);

        Record storage node = _nodes[operator][profile.index];
        uint32 keyVersion = _bindings[node.key].keyVersion + 1;
        _revokeReplaced(operator, node, profile);
        _bindKey(operator, profile, keyVersion);
        uint56 prefix = _takePrefix(operator, node, profile);
        node.key = profile.key;
        node.validTo = profile.validTo;
        node.prefix = prefix;
        node.wgKey = profile.wgKey;

        _announce(operator, profile, prefix, keyVersion);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeNode(address operator, uint32 index) external onlyController(operator) {
        Record storage node = _nodes[operator][index];
        if (node.validTo == 0) revert NodeUnknown(operator, index);
        delete _prefixes[node.prefix];
        node.validTo = 0;
        _emitDelegate(operator, NODE_DELEGATE, node.key, 0);
        _emitAttribute(operator, WG_KEY, abi.encodePacked(node.wgKey), 0);
        emit NodeRevoked(operator, index);
    }

    /// @inheritdoc IIdentityRegistry
    function changeOwner(address identity, address newOwner)
        external
        onlyController(identity)
        whileActive(identity)
    {
        if (newOwner == address(0)) _identities[identity].deactivated = true;
        else _identities[identity].owner = newOwner;
        emit DIDOwnerChanged(identity, newOwner, _touch(identity));
    }

    /// @inheritdoc IIdentityRegistry
    function addDelegate(address identity, bytes32 delegateType, address delegate, uint256 validity)
        external
        onlyController(identity)
        whileActive(identity)
    {
        _refuseNodeKey(identity, delegateType, delegate);
        uint256 validTo = block.timestamp + validity;
        _delegates[identity][delegateType][delegate] = validTo;
        _emitDelegate(identity, delegateType, delegate, validTo);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeDelegate(address identity, bytes32 delegateType, address delegate)
        external
        onlyController(identity)
        whileActive(identity)
    {
        _refuseNodeKey(identity, delegateType, delegate);
        delete _delegates[identity][delegateType][delegate];
        _emitDelegate(identity, delegateType, delegate, 0);
    }

    /// @inheritdoc IIdentityRegistry
    function setAttribute(address identity, bytes32 name, bytes calldata value, uint256 validity)
        external
        onlyController(identity)
        whileActive(identity)
    {
        _emitAttribute(identity, name, value, block.timestamp + validity);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeAttribute(address identity, bytes32 name, bytes calldata value)
        external
        onlyController(identity)
        whileActive(identity)
    {
        _emitAttribute(identity, name, value, 0);
    }

    /// @inheritdoc IIdentityRegistry
    function nodeOf(address operator, uint32 index) external view returns (Node memory) {
        Record storage node = _nodes[operator][index];
        if (node.validTo == 0) return Node(address(0), 0, 0, 0, 0);
        return Node(node.key, node.validTo, node.prefix, node.wgKey, _bindings[node.key].keyVersion);
    }

    /// @inheritdoc IIdentityRegistry
    function keyOf(address operator, uint32 index) external view returns (address key, uint40 validTo) {
        Record storage node = _nodes[operator][index];
        validTo = node.validTo;
        key = validTo == 0 ? address(0) : node.key;
    }

    /// @inheritdoc IIdentityRegistry
    function identityOwner(address identity) external view returns (address) {
        return _identities[identity].deactivated ? address(0) : controllerOf(identity);
    }

    /// @inheritdoc IIdentityRegistry
    function deactivated(address identity) external view returns (bool) {
        return _identities[identity].deactivated;
    }

    /// @inheritdoc IIdentityRegistry
    function changed(address identity) external view returns (uint256) {
        return _identities[identity].changed;
    }

    /// @inheritdoc IIdentityRegistry
    function validDelegate(address identity, bytes32 delegateType, address delegate) external view returns (bool) {
        if (_identities[identity].deactivated) return false;
        if (_delegates[identity][delegateType][delegate] >= block.timestamp) return true;
        if (delegateType != NODE_DELEGATE) return false;
        Binding storage binding = _bindings[delegate];
        Record storage node = _nodes[identity][binding.index];
        return binding.operator == identity && node.key == delegate && node.validTo >= block.timestamp;
    }

    /// @inheritdoc IIdentityRegistry
    function controllerOf(address identity) public view returns (address) {
        address owner = _identities[identity].owner;
        return owner == address(0) ? identity : owner;
    }

    /// @inheritdoc IIdentityRegistry
    function meshPrefix(address operator, uint32 index, uint64 salt) public view returns (uint56) {
        bytes32 digest = keccak256(abi.encode(MESH_DOMAIN, block.chainid, address(this), operator, index, salt));
        return uint56(bytes7(digest));
    }

    /// @dev A node's key comes and goes with its node: the DID document must not say otherwise than the market reads.
    function _refuseNodeKey(address identity, bytes32 delegateType, address delegate) private view {
        if (delegateType != NODE_DELEGATE) return;
        Binding storage binding = _bindings[delegate];
        Record storage node = _nodes[identity][binding.index];
        if (binding.operator == identity && node.key == delegate && node.validTo != 0) {
            revert DelegateIsNodeKey(identity, binding.index, delegate);
        }
    }

    function _requireKeyProof(address operator, NodeProfile calldata profile, bytes calldata keyProof) private view {
        bytes32 structHash = keccak256(abi.encode(NODE_KEY_TYPEHASH, operator, profile.index, profile.wgKey));
        bytes32 digest = _hashTypedDataV4(structHash);
        if (!SignatureChecker.isValidSignatureNowCalldata(profile.key, digest, keyProof)) {
            revert BadKeyProof(operator, profile.index, profile.key);
        }
    }

    function _revokeReplaced(address operator, Record storage node, NodeProfile calldata profile) private {
        if (node.validTo == 0) return; // nothing is published
        if (node.key != profile.key) _emitDelegate(operator, NODE_DELEGATE, node.key, 0);
        if (node.wgKey != profile.wgKey) _emitAttribute(operator, WG_KEY, abi.encodePacked(node.wgKey), 0);
    }

    function _bindKey(address operator, NodeProfile calldata profile, uint32 keyVersion) private {
        Binding storage binding = _bindings[profile.key];
        bool taken = binding.operator != address(0) && (binding.operator != operator || binding.index != profile.index);
        if (taken) revert KeyTaken(profile.key, binding.operator, binding.index);
        (binding.operator, binding.index, binding.keyVersion) = (operator, profile.index, keyVersion);
    }

    function _takePrefix(address operator, Record storage node, NodeProfile calldata profile)
        private
        returns (uint56 prefix)
    {
        prefix = meshPrefix(operator, profile.index, profile.salt);
        if (node.validTo != 0) {
            if (node.prefix == prefix) return prefix;
            delete _prefixes[node.prefix];
        }
        PrefixHolder storage holder = _prefixes[prefix];
        if (holder.operator != address(0)) revert PrefixTaken(prefix, holder.operator, holder.index);
        (holder.operator, holder.index) = (operator, profile.index);
    }

    function _announce(address operator, NodeProfile calldata profile, uint56 prefix, uint32 keyVersion) private {
        _emitDelegate(operator, NODE_DELEGATE, profile.key, profile.validTo);
        _emitAttribute(operator, WG_KEY, abi.encodePacked(profile.wgKey), profile.validTo);
        if (bytes(profile.wgEndpoint).length > 0) {
            _emitAttribute(operator, WG_ENDPOINT, bytes(profile.wgEndpoint), profile.validTo);
        }
        if (bytes(profile.contentUrl).length > 0) {
            _emitAttribute(operator, CONTENT_URL, bytes(profile.contentUrl), profile.validTo);
        }
        emit NodePublished(
            operator,
            profile.index,
            profile.key,
            profile.wgKey,
            prefix,
            profile.validTo,
            keyVersion,
            profile.wgEndpoint,
            profile.contentUrl
        );
    }

    function _emitDelegate(address identity, bytes32 delegateType, address delegate, uint256 validTo) private {
        emit DIDDelegateChanged(identity, delegateType, delegate, validTo, _touch(identity));
    }

    function _emitAttribute(address identity, bytes32 name, bytes memory value, uint256 validTo) private {
        emit DIDAttributeChanged(identity, name, value, validTo, _touch(identity));
    }

    /// @dev Resolvers walk back from event to event through this chain of block numbers.
    function _touch(address identity) private returns (uint256 previousChange) {
        previousChange = _identities[identity].changed;
        if (previousChange != block.number) _identities[identity].changed = uint88(block.number);
    }
}
