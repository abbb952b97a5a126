// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IdentityHash} from "./IdentityHash.sol";
import {IIdentityRegistry, NodeProfile} from "./IIdentityRegistry.sol";
import {NodeKeys} from "./NodeKeys.sol";

/// @title The identity registry; IIdentityRegistry is its manual
/// @dev Every external function authorises, by transaction or by signature, and hands over to the one that does it.
contract IdentityRegistry is NodeKeys {
    /// @inheritdoc IIdentityRegistry
    function publishNode(address operator, NodeProfile calldata profile, bytes calldata keyProof) external {
        _requireController(operator);
        _publishNode(operator, profile, keyProof);
    }

    /// @inheritdoc IIdentityRegistry
    function publishNodeSigned(
        address operator,
        NodeProfile calldata profile,
        bytes calldata keyProof,
        uint40 deadline,
        bytes calldata signature
    ) external {
        uint48 nonce = _useNonce(operator, deadline);
        bytes32 structHash = IdentityHash.ofPublishNode(operator, profile, nonce, deadline);
        _requireSigned(operator, nonce, structHash, signature);
        _publishNode(operator, profile, keyProof);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeNode(address operator, uint32 index) external {
        _requireController(operator);
        _revokeNode(operator, index);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeNodeSigned(address operator, uint32 index, uint40 deadline, bytes calldata signature) external {
        uint48 nonce = _useNonce(operator, deadline);
        _requireSigned(operator, nonce, IdentityHash.ofRevokeNode(operator, index, nonce, deadline), signature);
        _revokeNode(operator, index);
    }

    /// @inheritdoc IIdentityRegistry
    function changeOwner(address identity, address newOwner) external {
        _requireController(identity);
        _changeOwner(identity, newOwner);
    }

    /// @inheritdoc IIdentityRegistry
    function changeOwnerSigned(address identity, address newOwner, uint40 deadline, bytes calldata signature) external {
        uint48 nonce = _useNonce(identity, deadline);
        _requireSigned(identity, nonce, IdentityHash.ofChangeOwner(identity, newOwner, nonce, deadline), signature);
        _changeOwner(identity, newOwner);
    }

    /// @inheritdoc IIdentityRegistry
    function addDelegate(address identity, bytes32 delegateType, address delegate, uint256 validity) external {
        _requireController(identity);
        _addDelegate(identity, delegateType, delegate, validity);
    }

    /// @inheritdoc IIdentityRegistry
    function addDelegateSigned(
        address identity,
        bytes32 delegateType,
        address delegate,
        uint256 validity,
        uint40 deadline,
        bytes calldata signature
    ) external {
        uint48 nonce = _useNonce(identity, deadline);
        bytes32 structHash =
            IdentityHash.ofAddDelegate(identity, delegateType, delegate, validity, nonce, deadline);
        _requireSigned(identity, nonce, structHash, signature);
        _addDelegate(identity, delegateType, delegate, validity);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeDelegate(address identity, bytes32 delegateType, address delegate) external {
        _requireController(identity);
        _revokeDelegate(identity, delegateType, delegate);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeDelegateSigned(
        address identity,
        bytes32 delegateType,
        address delegate,
        uint40 deadline,
        bytes calldata signature
    ) external {
        uint48 nonce = _useNonce(identity, deadline);
        bytes32 structHash = IdentityHash.ofRevokeDelegate(identity, delegateType, delegate, nonce, deadline);
        _requireSigned(identity, nonce, structHash, signature);
        _revokeDelegate(identity, delegateType, delegate);
    }

    /// @inheritdoc IIdentityRegistry
    function setAttribute(address identity, bytes32 name, bytes calldata value, uint256 validity) external {
        _requireController(identity);
        _setAttribute(identity, name, value, validity);
    }

    /// @inheritdoc IIdentityRegistry
    function setAttributeSigned(
        address identity,
        bytes32 name,
        bytes calldata value,
        uint256 validity,
        uint40 deadline,
        bytes calldata signature
    ) external {
        uint48 nonce = _useNonce(identity, deadline);
        bytes32 structHash = IdentityHash.ofSetAttribute(identity, name, value, validity, nonce, deadline);
        _requireSigned(identity, nonce, structHash, signature);
        _setAttribute(identity, name, value, validity);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeAttribute(address identity, bytes32 name, bytes calldata value) external {
        _requireController(identity);
        _revokeAttribute(identity, name, value);
    }

    /// @inheritdoc IIdentityRegistry
    function revokeAttributeSigned(
        address identity,
        bytes32 name,
        bytes calldata value,
        uint40 deadline,
        bytes calldata signature
    ) external {
        uint48 nonce = _useNonce(identity, deadline);
        bytes32 structHash = IdentityHash.ofRevokeAttribute(identity, name, value, nonce, deadline);
        _requireSigned(identity, nonce, structHash, signature);
        _revokeAttribute(identity, name, value);
    }

    /// @inheritdoc IIdentityRegistry
    function validDelegate(address identity, bytes32 delegateType, address delegate) external view returns (bool) {
        if (deactivated(identity)) return false;
        if (delegateType == NODE_DELEGATE) {
            (bool serves,, uint40 validTo) = _nodeDelegate(identity, delegate);
            if (serves) return block.timestamp <= validTo;
        }
        return block.timestamp <= _delegates[identity][delegateType][delegate];
    }

    function _addDelegate(address identity, bytes32 delegateType, address delegate, uint256 validity) private {
        _requireActive(identity);
        _refuseNodeKey(identity, delegateType, delegate);
        uint256 validTo = Math.saturatingAdd(block.timestamp, validity);
        _delegates[identity][delegateType][delegate] = validTo;
        emit DIDDelegateChanged(identity, delegateType, delegate, validTo, _touch(identity));
    }

    function _revokeDelegate(address identity, bytes32 delegateType, address delegate) private {
        _requireActive(identity);
        _refuseNodeKey(identity, delegateType, delegate);
        delete _delegates[identity][delegateType][delegate];
        emit DIDDelegateChanged(identity, delegateType, delegate, 0, _touch(identity));
    }

    function _setAttribute(address identity, bytes32 name, bytes calldata value, uint256 validity) private {
        _requireActive(identity);
        uint256 validTo = Math.saturatingAdd(block.timestamp, validity);
        emit DIDAttributeChanged(identity, name, value, validTo, _touch(identity));
    }

    function _revokeAttribute(address identity, bytes32 name, bytes calldata value) private {
        _requireActive(identity);
        emit DIDAttributeChanged(identity, name, value, 0, _touch(identity));
    }

    function _refuseNodeKey(address identity, bytes32 delegateType, address delegate) private view {
        if (delegateType != NODE_DELEGATE) return;
        (bool serves, uint32 index,) = _nodeDelegate(identity, delegate);
        if (serves) revert DelegateIsNodeKey(identity, index, delegate);
    }
}
