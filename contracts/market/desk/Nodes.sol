// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarketDesk, NodeUse} from "../IMarketDesk.sol";
import {MarketState} from "../MarketState.sol";
import {NodeLimits} from "../Orders.sol";

/// @notice What an operator says about its nodes, and what a guardian may.
abstract contract Nodes is IMarketDesk, MarketState {
    /// @inheritdoc IMarketDesk
    function bumpEpoch(address operator, uint32 index) external {
        _requireNode(operator, index);
        uint32 epoch = _uses[operator][index].epoch + 1;
        _uses[operator][index].epoch = epoch;
        emit EpochBumped(operator, index, epoch);
    }

    /// @inheritdoc IMarketDesk
    function setNodeLimits(address operator, uint32 index, NodeLimits calldata limits) external {
        if (!_controls(operator)) revert NotController(operator, msg.sender);
        _limits[operator][index] = limits;
        emit NodeLimitsSet(operator, index, limits);
    }

    /// @inheritdoc IMarketDesk
    function setAccepted(address operator, address[] calldata what, bool accepted) external {
        if (!_controls(operator)) revert NotController(operator, msg.sender);
        for (uint256 i = 0; i < what.length; ++i) {
            _accepted[operator][what[i]] = accepted;
            emit AcceptanceSet(operator, what[i], accepted);
        }
    }

    /// @inheritdoc IMarketDesk
    function setPaused(bool paused_) external {
        _requireGuardian();
        _paused = paused_;
        emit NewJobsPausedSet(paused_);
    }

    /// @inheritdoc IMarketDesk
    function setGuardian(address guardian_) external {
        _requireGuardian();
        // Zero is a choice: nobody, for good.
        // slither-disable-next-line missing-zero-check
        _guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    /// @inheritdoc IMarketDesk
    function guardian() external view returns (address) {
        return _guardian;
    }

    /// @inheritdoc IMarketDesk
    function paused() external view returns (bool) {
        return _paused;
    }

    /// @inheritdoc IMarketDesk
    function useOf(address operator, uint32 index) external view returns (NodeUse memory) {
        return _uses[operator][index];
    }

    /// @inheritdoc IMarketDesk
    function limitsOf(address operator, uint32 index) external view returns (NodeLimits memory) {
        return _limits[operator][index];
    }

    /// @inheritdoc IMarketDesk
    function accepts(address operator, address what) external view returns (bool) {
        return what == address(0) || _accepted[operator][what];
    }

    function _requireGuardian() private view {
        if (msg.sender != _guardian) revert NotGuardian(msg.sender, _guardian);
    }
}
