// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {IIdentityRegistry} from "./IIdentityRegistry.sol";

/// @notice Who speaks for an identity, by a transaction or by a signature, and the chain of its changes.
abstract contract Identities is IIdentityRegistry, EIP712 {
    /// @dev One slot, so that publishing a node and using a signature touch the identity once.
    struct Identity {
        address owner; // zero: the identity itself
        uint40 changed; // block number of the last change
        uint48 nonce; // of the next signed call
        bool deactivated; // `owner` is then the last owner
    }

    /// @dev Delegations by `addDelegate`. What was one before its delegate became a node's key ends with that.
    mapping(address identity => mapping(bytes32 delegateType => mapping(address delegate => uint256 validTo))) internal
        _delegates;
    mapping(address identity => Identity) private _identities;

    constructor() EIP712("Berth Identity", "1") {}

    /// @inheritdoc IIdentityRegistry
    function burnNonces(address identity, uint16 count) external {
        _requireController(identity);
        emit NoncesBurned(identity, _skipNonces(identity, count));
    }

    /// @inheritdoc IIdentityRegistry
    function identityOwner(address identity) external view returns (address) {
        return deactivated(identity) ? address(0) : controllerOf(identity);
    }

    /// @inheritdoc IIdentityRegistry
    function changed(address identity) external view returns (uint256) {
        return _identities[identity].changed;
    }

    /// @inheritdoc IIdentityRegistry
    function nonceOf(address identity) external view returns (uint48) {
        return _identities[identity].nonce;
    }

    /// @inheritdoc IIdentityRegistry
    function controllerOf(address identity) public view returns (address) {
        address owner = _identities[identity].owner;
        return owner == address(0) ? identity : owner;
    }

    /// @inheritdoc IIdentityRegistry
    function deactivated(address identity) public view returns (bool) {
        return _identities[identity].deactivated;
    }

    /// @dev The only way to another owner. Expects that the caller is authorised.
    function _changeOwner(address identity, address newOwner) internal {
        _requireActive(identity);
        _skipNonces(identity, 1);
        if (newOwner == address(0)) _identities[identity].deactivated = true;
        else _identities[identity].owner = newOwner;
        emit DIDOwnerChanged(identity, newOwner, _touch(identity));
    }

    /// @dev Takes the nonce for a signed call. The signature is compared afterwards, by `_requireSigned`.
    function _useNonce(address identity, uint40 deadline) internal returns (uint48 nonce) {
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        nonce = _skipNonces(identity, 1) - 1;
    }

    /// @dev Resolvers walk back from event to event through this chain of block numbers.
    function _touch(address identity) internal returns (uint256 previousChange) {
        previousChange = _identities[identity].changed;
        // 40 bits count blocks of a hundredth of a second for three centuries.
        if (previousChange != block.number) _identities[identity].changed = uint40(block.number);
    }

    function _requireController(address identity) internal view {
        address controller = controllerOf(identity);
        if (msg.sender != controller) revert NotController(identity, msg.sender, controller);
    }

    function _requireSigned(address identity, uint48 nonce, bytes32 structHash, bytes calldata signature) internal view {
        address controller = controllerOf(identity);
        if (!Signatures.signed(controller, _hashTypedDataV4(structHash), signature)) {
            revert BadControllerSignature(identity, controller, nonce);
        }
    }

    function _requireActive(address identity) internal view {
        if (_identities[identity].deactivated) revert IdentityDeactivated(identity);
    }

    function _skipNonces(address identity, uint16 count) private returns (uint48 next) {
        // Four billion of the largest steps would be needed to overflow, so nobody gets a panic here.
        next = _identities[identity].nonce + count;
        _identities[identity].nonce = next;
    }
}
