// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {IProviderStaking} from "../staking/IProviderStaking.sol";
import {Batches} from "./desk/Batches.sol";
import {Disputes} from "./desk/Disputes.sol";
import {Ledger} from "./desk/Ledger.sol";
import {Leases} from "./desk/Leases.sol";
import {Nodes} from "./desk/Nodes.sol";
import {Requests} from "./desk/Requests.sol";
import {IMarketFloor} from "./IMarketFloor.sol";
import {MarketState} from "./MarketState.sol";

/// @title The market's second half; IMarketDesk is its manual
/// @notice Only code: it works on the market's storage and has none that anyone uses. See JobMarket.
contract MarketDesk is Ledger, Requests, Disputes, Leases, Nodes, Batches {
    constructor(IIdentityRegistry identity) MarketState(identity) {}

    /// @dev Asks the market, which this code runs as: it makes its staking contract before it makes the desk known.
    function _staking() internal view override returns (IProviderStaking) {
        return IMarketFloor(address(this)).staking();
    }
}
