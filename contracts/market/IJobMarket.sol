// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IMarketDesk} from "./IMarketDesk.sol";
import {IMarketErrors} from "./IMarketErrors.sol";
import {IMarketEvents} from "./IMarketEvents.sol";
import {IMarketFloor} from "./IMarketFloor.sol";

/// @title The job market: escrow, matching and settlement
/// @notice Parties act at or before a deadline; permissionless exits open after it. Times are block timestamps.
/// A token must move exactly the amounts it is asked to; others are refused at the door. Nothing here has an owner.
interface IJobMarket is IMarketFloor, IMarketDesk, IMarketEvents, IMarketErrors {}
