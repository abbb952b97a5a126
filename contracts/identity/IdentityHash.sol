// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {NodeProfile} from "./IIdentityRegistry.sol";

/// @title EIP-712 struct hashes of what controllers and node keys sign
library IdentityHash {
    bytes32 private constant NODE_KEY = keccak256("NodeKey(address operator,uint32 index,bytes32 wgKey)");
    bytes32 private constant CHANGE_OWNER =
        keccak256("ChangeOwner(address identity,address newOwner,uint48 nonce,uint40 deadline)");
    bytes32 private constant ADD_DELEGATE = keccak256(
        "AddDelegate(address identity,bytes32 delegateType,address delegate,uint256 validity,uint48 nonce,uint40 deadline)"
    );
    bytes32 private constant REVOKE_DELEGATE = keccak256(
        "RevokeDelegate(address identity,bytes32 delegateType,address delegate,uint48 nonce,uint40 deadline)"
    );
    bytes32 private constant SET_ATTRIBUTE = keccak256(
        "SetAttribute(address identity,bytes32 name,bytes value,uint256 validity,uint48 nonce,uint40 deadline)"
    );
    bytes32 private constant REVOKE_ATTRIBUTE =
        keccak256("RevokeAttribute(address identity,bytes32 name,bytes value,uint48 nonce,uint40 deadline)");
    bytes private constant NODE_PROFILE_TYPE =
        "NodeProfile(uint32 index,address key,bytes32 wgKey,uint64 salt,uint40 validTo,string wgEndpoint,string contentUrl,string profileCid)";
    bytes32 private constant NODE_PROFILE = keccak256(NODE_PROFILE_TYPE);
    bytes32 private constant PUBLISH_NODE = keccak256(
        abi.encodePacked(
            "PublishNode(address operator,NodeProfile profile,uint48 nonce,uint40 deadline)", NODE_PROFILE_TYPE
        )
    );
    bytes32 private constant REVOKE_NODE =
        keccak256("RevokeNode(address operator,uint32 index,uint48 nonce,uint40 deadline)");

    function ofNodeKey(address operator, uint32 index, bytes32 wgKey) internal pure returns (bytes32) {
        return keccak256(abi.encode(NODE_KEY, operator, index, wgKey));
    }

    /// @dev A hash of hashes: who opens one text need not carry the others.
    function ofServices(NodeProfile calldata profile) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(bytes(profile.wgEndpoint)),
                keccak256(bytes(profile.contentUrl)),
                keccak256(bytes(profile.profileCid))
            )
        );
    }

    function ofChangeOwner(address identity, address newOwner, uint48 nonce, uint40 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(CHANGE_OWNER, identity, newOwner, nonce, deadline));
    }

    function ofAddDelegate(
        address identity,
        bytes32 delegateType,
        address delegate,
        uint256 validity,
        uint48 nonce,
        uint40 deadline
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(ADD_DELEGATE, identity, delegateType, delegate, validity, nonce, deadline));
    }

    function ofRevokeDelegate(address identity, bytes32 delegateType, address delegate, uint48 nonce, uint40 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(REVOKE_DELEGATE, identity, delegateType, delegate, nonce, deadline));
    }

    function ofSetAttribute(
        address identity,
        bytes32 name,
        bytes calldata value,
        uint256 validity,
        uint48 nonce,
        uint40 deadline
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(SET_ATTRIBUTE, identity, name, keccak256(value), validity, nonce, deadline));
    }

    function ofRevokeAttribute(address identity, bytes32 name, bytes calldata value, uint48 nonce, uint40 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(REVOKE_ATTRIBUTE, identity, name, keccak256(value), nonce, deadline));
    }

    function ofPublishNode(address operator, NodeProfile calldata profile, uint48 nonce, uint40 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(PUBLISH_NODE, operator, _ofProfile(profile), nonce, deadline));
    }

    function ofRevokeNode(address operator, uint32 index, uint48 nonce, uint40 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(REVOKE_NODE, operator, index, nonce, deadline));
    }

    function _ofProfile(NodeProfile calldata profile) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                NODE_PROFILE,
                profile.index,
                profile.key,
                profile.wgKey,
                profile.salt,
                profile.validTo,
                keccak256(bytes(profile.wgEndpoint)),
                keccak256(bytes(profile.contentUrl)),
                keccak256(bytes(profile.profileCid))
            )
        );
    }
}
