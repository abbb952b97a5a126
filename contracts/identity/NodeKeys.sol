// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Signatures} from "../libraries/Signatures.sol";
import {Identities} from "./Identities.sol";
import {IdentityHash} from "./IdentityHash.sol";
import {IIdentityRegistry, Node, NodeProfile} from "./IIdentityRegistry.sol";

/// @notice The nodes of operators: hot keys, WireGuard keys and mesh prefixes.
abstract contract NodeKeys is Identities {
    /// @dev Two slots, the second untouched until a key is replaced. A revoked node keeps its key with `validTo` zero,
    /// so that its key version goes on.
    struct Record {
        // slot 0: everything that the market asks for on its busiest paths
        address key;
        uint40 validTo;
        uint56 prefix;
        // slot 1
        address replaced; // the key before `key`, while it may act
        uint40 replacedValidTo; // the last second in which it is a delegate
        uint40 replacedActsTo; // the last second in which it may act
    }

    /// @dev One slot, kept for good: who has one serves no other node. Whose it is says the record that names the key, so
    /// there is room for what else is stored of a node.
    struct Binding {
        uint32 index;
        uint32 keyVersion;
        bytes24 servicesHash;
    }

    bytes32 internal constant NODE_DELEGATE = "veriKey";
    bytes32 private constant MESH_DOMAIN = keccak256("berth/mesh/v1");
    bytes32 private constant WG_KEY = "did/pub/X25519/enc/base64";
    bytes32 private constant WG_ENDPOINT = "did/svc/BerthWireGuard";
    bytes32 private constant CONTENT_URL = "did/svc/BerthContent";
    bytes32 private constant PROFILE_CID = "did/svc/BerthProfile";
    uint40 private constant OVERLAP = 1 hours;

    mapping(address operator => mapping(uint32 index => Record)) private _nodes;
    mapping(address key => Binding) private _bindings;
    /// @dev A prefix with a key is taken. Whose it is says the record that names the prefix.
    mapping(uint56 prefix => bytes32 wgKey) private _wgKeys;

    /// @inheritdoc IIdentityRegistry
    function nodeOf(address operator, uint32 index) external view returns (Node memory) {
        Record storage node = _nodes[operator][index];
        if (node.validTo == 0) return Node(address(0), 0, 0, 0, 0, 0);
        Binding storage binding = _bindings[node.key];
        (uint32 keyVersion, bytes24 servicesHash) = (binding.keyVersion, binding.servicesHash);
        return Node(node.key, node.validTo, node.prefix, _wgKeys[node.prefix], keyVersion, servicesHash);
    }

    /// @inheritdoc IIdentityRegistry
    function signerOf(address operator, uint32 index) external view returns (address key, uint40 validTo) {
        Record storage node = _nodes[operator][index];
        (key, validTo) = (node.key, node.validTo);
        if (validTo == 0 || deactivated(operator)) return (address(0), 0);
    }

    /// @inheritdoc IIdentityRegistry
    function mayAct(address operator, uint32 index, address caller) external view returns (bool) {
        Record storage node = _nodes[operator][index];
        if (caller == node.key && node.validTo != 0) return true;
        if (caller == node.replaced && block.timestamp <= node.replacedActsTo) return true;
        return caller == controllerOf(operator);
    }

    /// @inheritdoc IIdentityRegistry
    function meshPrefix(address operator, uint32 index, uint64 salt) public view returns (uint56) {
        bytes32 digest = keccak256(abi.encode(MESH_DOMAIN, block.chainid, address(this), operator, index, salt));
        return uint56(bytes7(digest));
    }

    function _publishNode(address operator, NodeProfile calldata profile, bytes calldata keyProof) internal {
        _requireActive(operator);
        if (profile.key == address(0) || profile.wgKey == 0) revert ZeroKey();
        if (profile.validTo <= block.timestamp) revert ExpiryPassed(profile.validTo);
        _requireKeyProof(operator, profile, keyProof);

        Record storage node = _nodes[operator][profile.index];
        uint256 previousChange = _touch(operator);
        uint32 keyVersion = _bindKey(node, profile);
        if (node.validTo != 0) previousChange = _replaceKeys(operator, node, profile, previousChange);
        uint56 prefix = _takePrefix(operator, node, profile);
        (node.key, node.validTo, node.prefix) = (profile.key, profile.validTo, prefix);

        _announce(operator, profile, previousChange);
        _emitPublished(operator, profile, prefix, keyVersion);
    }

    function _revokeNode(address operator, uint32 index) internal {
        Record storage node = _nodes[operator][index];
        if (node.validTo == 0) revert NodeUnknown(operator, index);
        (address key, uint56 prefix) = (node.key, node.prefix);
        bytes32 wgKey = _wgKeys[prefix];
        delete _wgKeys[prefix];
        uint256 previousChange = _endReplaced(operator, node, _touch(operator));
        (node.replaced, node.replacedValidTo, node.replacedActsTo) = (address(0), 0, 0);
        node.validTo = 0;
        delete _delegates[operator][NODE_DELEGATE][key];
        emit DIDDelegateChanged(operator, NODE_DELEGATE, key, 0, previousChange);
        emit DIDAttributeChanged(operator, WG_KEY, abi.encode(wgKey), 0, block.number);
        emit NodeRevoked(operator, index);
    }

    /// @dev Is `delegate` the key of a node of `identity`, its last key, or the replaced one? Then the node alone says until
    /// when it is a delegate: the DID document must not say otherwise than the market reads.
    function _nodeDelegate(address identity, address delegate)
        internal
        view
        returns (bool serves, uint32 index, uint40 validTo)
    {
        Binding storage binding = _bindings[delegate];
        if (binding.keyVersion == 0) return (false, 0, 0);
        index = binding.index;
        Record storage node = _nodes[identity][index];
        if (delegate == node.key) return (true, index, node.validTo);
        if (delegate == node.replaced) return (true, index, node.replacedValidTo);
    }

    function _bindKey(Record storage node, NodeProfile calldata profile) private returns (uint32 keyVersion) {
        (address key, address current) = (profile.key, node.key);
        if (key != current && _bindings[key].keyVersion != 0 && key != node.replaced) revert KeyTaken(key);
        keyVersion = current == address(0) ? 1 : _bindings[current].keyVersion + 1;
        _bindings[key] = Binding(profile.index, keyVersion, bytes24(IdentityHash.ofServices(profile)));
    }

    function _takePrefix(address operator, Record storage node, NodeProfile calldata profile)
        private
        returns (uint56 prefix)
    {
        prefix = meshPrefix(operator, profile.index, profile.salt);
        bytes32 wgKey = _wgKeys[prefix];
        if (node.validTo == 0 || node.prefix != prefix) {
            if (wgKey != 0) revert PrefixTaken(prefix);
            if (node.validTo != 0) delete _wgKeys[node.prefix];
        }
        if (wgKey != profile.wgKey) _wgKeys[prefix] = profile.wgKey;
    }

    /// @dev The node is published. Keys that `profile` does not name go; the hot key not at once.
    function _replaceKeys(
        address operator,
        Record storage node,
        NodeProfile calldata profile,
        uint256 previousChange
    ) private returns (uint256) {
        (address old, bytes32 oldWgKey) = (node.key, _wgKeys[node.prefix]);
        if (old != profile.key) {
            previousChange = _endReplaced(operator, node, previousChange);
            // 40 bits of unix seconds end in 36812.
            uint40 actsTo = uint40(block.timestamp) + OVERLAP;
            uint40 validTo = node.validTo < actsTo ? node.validTo : actsTo;
            (node.replaced, node.replacedValidTo, node.replacedActsTo) = (old, validTo, actsTo);
            delete _delegates[operator][NODE_DELEGATE][old];
            emit DIDDelegateChanged(operator, NODE_DELEGATE, old, validTo, previousChange);
            previousChange = block.number;
        }
        if (oldWgKey != profile.wgKey) {
            emit DIDAttributeChanged(operator, WG_KEY, abi.encode(oldWgKey), 0, previousChange);
            previousChange = block.number;
        }
        return previousChange;
    }

    /// @dev Two keys at a time are enough: the one that was replaced before ends now.
    function _endReplaced(address operator, Record storage node, uint256 previousChange) private returns (uint256) {
        if (node.replacedValidTo < block.timestamp) return previousChange;
        emit DIDDelegateChanged(operator, NODE_DELEGATE, node.replaced, 0, previousChange);
        return block.number;
    }

    /// @dev Only the first event of a transaction can point to an earlier block.
    function _announce(address operator, NodeProfile calldata profile, uint256 previousChange) private {
        emit DIDDelegateChanged(operator, NODE_DELEGATE, profile.key, profile.validTo, previousChange);
        emit DIDAttributeChanged(operator, WG_KEY, abi.encode(profile.wgKey), profile.validTo, block.number);
        _announceText(operator, WG_ENDPOINT, profile.wgEndpoint, profile.validTo);
        _announceText(operator, CONTENT_URL, profile.contentUrl, profile.validTo);
        _announceText(operator, PROFILE_CID, profile.profileCid, profile.validTo);
    }

    function _announceText(address operator, bytes32 name, string calldata text, uint40 validTo) private {
        if (bytes(text).length == 0) return;
        emit DIDAttributeChanged(operator, name, bytes(text), validTo, block.number);
    }

    function _emitPublished(address operator, NodeProfile calldata profile, uint56 prefix, uint32 keyVersion) private {
        emit NodePublished(
            operator,
            profile.index,
            profile.key,
            profile.wgKey,
            prefix,
            profile.validTo,
            keyVersion,
            profile.wgEndpoint,
            profile.contentUrl,
            profile.profileCid
        );
    }

    function _requireKeyProof(address operator, NodeProfile calldata profile, bytes calldata keyProof) private view {
        bytes32 digest = _hashTypedDataV4(IdentityHash.ofNodeKey(operator, profile.index, profile.wgKey));
        if (!Signatures.signed(profile.key, digest, keyProof)) {
            revert BadKeyProof(operator, profile.index, profile.key);
        }
    }
}
