// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IJobMarket, NodeUse} from "./IJobMarket.sol";
import {Fit} from "./libraries/Fit.sol";
import {OrderHash} from "./libraries/OrderHash.sol";
import {Ledger} from "./Ledger.sol";
import {NodeLimits, Offer, Request, Terms} from "./Orders.sol";

/// @notice What the market knows of a node: its epoch, what it has in use, and what its operator lets it commit to.
abstract contract NodeBook is Ledger {
    mapping(address operator => mapping(uint32 index => NodeUse)) private _uses;
    mapping(address operator => mapping(uint32 index => bytes32)) private _limitsHashes;

    /// @inheritdoc IJobMarket
    function bumpEpoch(address operator, uint32 index) external {
        _requireNode(operator, index);
        uint32 epoch = _uses[operator][index].epoch + 1;
        _uses[operator][index].epoch = epoch;
        emit EpochBumped(operator, index, epoch);
    }

    /// @inheritdoc IJobMarket
    function setNodeLimits(address operator, uint32 index, NodeLimits calldata limits) external {
        if (msg.sender != identity.controllerOf(operator)) revert NotController(operator, msg.sender);
        bytes32 limitsHash = OrderHash.ofLimits(limits);
        _limitsHashes[operator][index] = limitsHash;
        emit NodeLimitsSet(operator, index, limitsHash, limits);
    }

    /// @inheritdoc IJobMarket
    function useOf(address operator, uint32 index) external view returns (NodeUse memory) {
        return _uses[operator][index];
    }

    /// @inheritdoc IJobMarket
    function limitsHashOf(address operator, uint32 index) external view returns (bytes32) {
        return _limitsHashes[operator][index];
    }

    /// @dev Takes capacity of the node behind `offer`, within the operator's limits.
    function _occupy(Request calldata request, Offer calldata offer, bytes32 offerHash, NodeLimits calldata limits)
        internal
    {
        (address operator, uint32 index) = (offer.operator, offer.index);
        NodeUse memory use = _uses[operator][index];
        if (offer.epoch != use.epoch) revert WrongEpoch(offerHash, offer.epoch, use.epoch);
        if (_limitsHashes[operator][index] != OrderHash.ofLimits(limits)) revert LimitsUnknown(operator, index);
        Fit.requireWithin(limits, request, offer);
        _uses[operator][index] = Fit.add(use, limits, request, offer);
    }

    /// @dev Gives back what `_occupy` took. Called on the one edge out of Active.
    function _vacate(Terms calldata terms) internal {
        NodeUse storage use = _uses[terms.offer.operator][terms.offer.index];
        _uses[terms.offer.operator][terms.offer.index] = Fit.remove(use, terms.request);
    }

    /// @dev The node's key counts here even when expired: a running job must never be stranded.
    function _requireNode(address operator, uint32 index) internal view {
        (address key,) = identity.keyOf(operator, index);
        if (msg.sender == key) return;
        if (msg.sender != identity.controllerOf(operator)) revert NotNode(operator, index, msg.sender);
    }
}
