// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Offer, Request} from "../Orders.sol";

/// @title What a replica costs
/// @notice The same sums as `protocol/src/pricing.ts`. Deposits are rounded up and charges down, each once, at the end.
library Pricing {
    uint256 internal constant X18 = 1e18;
    uint256 internal constant BPS = 10_000;

    /// @notice Token units per second, scaled by 1e18. Never overflows: four products of at most 160 bits.
    function rateX18(Request calldata request, Offer calldata offer) internal pure returns (uint256) {
        return uint256(request.cpuMilli) * offer.cpuRateX18 + uint256(request.memoryMiB) * offer.memoryRateX18
            + uint256(request.diskMiB) * offer.diskRateX18 + uint256(request.gpus) * offer.gpuRateX18;
    }

    /// @notice Token units held for one replica: the base charge and the longest run.
    function depositUp(Request calldata request, Offer calldata offer) internal pure returns (uint256) {
        return offer.baseCharge + Math.ceilDiv(rateX18(request, offer) * request.maxSeconds, X18);
    }

    /// @notice The most token units that can be earned `elapsed` seconds after the match; at most the deposit.
    function chargeDown(Request calldata request, Offer calldata offer, uint256 elapsed)
        internal
        pure
        returns (uint256)
    {
        return offer.baseCharge + rateX18(request, offer) * Math.min(elapsed, request.maxSeconds) / X18;
    }

    /// @notice Token units of a slashed bond that go to the payer; at most the bond.
    function compensationDown(Request calldata request, uint256 deposit) internal pure returns (uint256) {
        return Math.min(request.bond, deposit * request.compensationBps / BPS);
    }
}
