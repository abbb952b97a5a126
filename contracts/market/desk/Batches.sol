// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarketDesk} from "../IMarketDesk.sol";
import {IMarketFloor} from "../IMarketFloor.sol";
import {MarketState} from "../MarketState.sol";

/// @notice Many calls in one transaction, of which each succeeds or fails alone.
abstract contract Batches is IMarketDesk, MarketState {
    /// @dev The longest reason kept: a custom error with four values.
    uint256 private constant REASON_BYTES = 132;
    /// @dev What is left over must be enough to report a failure and go on.
    uint256 private constant ITEM_RESERVE = 20_000;

    /// @inheritdoc IMarketDesk
    function matchMany(bytes[] calldata matches, uint256 itemGas) external returns (bool[] memory done) {
        return _each(IMarketFloor.matchJob.selector, matches, itemGas);
    }

    /// @inheritdoc IMarketDesk
    function finalizeMany(bytes[] calldata settlements, uint256 itemGas) external returns (bool[] memory done) {
        return _each(IMarketFloor.finalize.selector, settlements, itemGas);
    }

    function _each(bytes4 selector, bytes[] calldata items, uint256 itemGas) private returns (bool[] memory done) {
        done = new bool[](items.length);
        for (uint256 i = 0; i < items.length; ++i) {
            bytes memory data = bytes.concat(selector, items[i]);
            // A call passes on at most 63/64 of the gas that there is (EIP-150).
            uint256 needed = itemGas + itemGas / 63 + ITEM_RESERVE;
            if (gasleft() < needed) revert BatchItemGas(i, gasleft(), needed);
            done[i] = _try(data, itemGas);
            if (!done[i]) emit ItemFailed(i, _reason());
        }
    }

    /// @dev Calls the market as the caller of the batch: the market's code on the market's storage, which is this one's.
    function _try(bytes memory data, uint256 itemGas) private returns (bool done) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            done := delegatecall(itemGas, address(), add(data, 0x20), mload(data), 0, 0)
        }
    }

    /// @dev The beginning of what the last call answered.
    function _reason() private pure returns (bytes memory reason) {
        uint256 most = REASON_BYTES;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let size := returndatasize()
            if gt(size, most) { size := most }
            reason := mload(0x40)
            mstore(reason, size)
            returndatacopy(add(reason, 0x20), 0, size)
            mstore(0x40, add(reason, and(add(size, 0x3f), not(0x1f))))
        }
    }
}
