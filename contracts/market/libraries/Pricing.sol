// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Assignment, Job, Offer, Request} from "../Orders.sol";

/// @title What a replica costs
/// @notice The same sums as `protocol/src/pricing.ts`. Deposits are rounded up and charges down, each once, at the end.
library Pricing {
    uint256 internal constant X18 = 1e18;
    uint256 internal constant BPS = 10_000;
    /// @notice Of the deposit, for a decline that is not free.
    uint256 internal constant DECLINE_FEE_BPS = 100;

    /// @notice Token units per second, scaled by 1e18.
    function rateX18(Request memory request, Offer memory offer) internal pure returns (uint256) {
        // No overflow: four products of at most 160 bits.
        unchecked {
            return uint256(request.cpuMilli) * offer.cpuRateX18 + uint256(request.memoryMiB) * offer.memoryRateX18
                + uint256(request.diskMiB) * offer.diskRateX18 + uint256(request.gpus) * offer.gpuRateX18;
        }
    }

    /// @notice Token units held for a replica that may be charged for `paidSeconds`.
    function depositUp(uint256 rate, uint256 baseCharge, uint256 paidSeconds) internal pure returns (uint256) {
        // No overflow: a rate of at most 162 bits, times at most 41 bits.
        unchecked {
            return baseCharge + (rate * paidSeconds + X18 - 1) / X18;
        }
    }

    /// @notice Token units earned in `chargedSeconds`; at most the deposit for as many seconds.
    function chargeDown(uint256 rate, uint256 baseCharge, uint256 chargedSeconds) internal pure returns (uint256) {
        // No overflow, for the same reason.
        unchecked {
            return baseCharge + rate * chargedSeconds / X18;
        }
    }

    /// @notice Token units of a slashed bond that go to the payer; at most the bond.
    function compensationDown(Job memory job, uint256 deposit) internal pure returns (uint256) {
        return Math.min(job.bond, deposit * job.compensationBps / BPS);
    }

    /// @notice Token units of the bond that a decline costs which is not free.
    function declineFeeDown(Job memory job, uint256 deposit) internal pure returns (uint256) {
        return Math.min(job.bond, deposit * DECLINE_FEE_BPS / BPS);
    }

    /// @notice Token units of the bond that a ruling takes: in proportion to what it denies, and at least the fee.
    function faultDown(Job memory job, uint256 claimed, uint256 award) internal pure returns (uint256) {
        // The orders keep the fee at or under the bond.
        return Math.max(job.arbiterFee, uint256(job.bond) * (claimed - award) / claimed);
    }

    /// @notice The deposit of a replica as it was matched.
    function depositOf(Job memory job, Assignment memory assignment) internal pure returns (uint256) {
        return depositUp(assignment.rateX18, assignment.baseCharge, job.maxSeconds);
    }
}
