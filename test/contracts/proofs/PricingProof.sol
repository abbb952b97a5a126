// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Pricing} from "../../../contracts/market/libraries/Pricing.sol";
import {Job, Offer, Request} from "../../../contracts/market/Orders.sol";

/// @notice The sums without overflow checks need none, and a part never costs more than the whole: for all that orders can
/// say, top-ups of leases included. A rate is under 2**162, seconds are under 2**33.
/// @custom:halmos --solver-command "python3 scripts/lib/solve-as-integers.py"
contract PricingProof {
    uint256 private constant X18 = 1e18;

    function check_rateNeedsNoOverflowCheck(uint32[3] calldata sizes, uint16 gpus, uint128[4] calldata rates) external view {
        Request memory request;
        Offer memory offer;
        (request.cpuMilli, offer.cpuRateX18) = (sizes[0], rates[0]);
        (request.memoryMiB, offer.memoryRateX18) = (sizes[1], rates[1]);
        (request.diskMiB, offer.diskRateX18) = (sizes[2], rates[2]);
        (request.gpus, offer.gpuRateX18) = (gpus, rates[3]);
        try this.checkedRate(request, offer) returns (uint256 rate) {
            assert(Pricing.rateX18(request, offer) == rate && rate < 1 << 162);
        } catch {
            assert(false);
        }
    }

    function check_depositNeedsNoOverflowCheck(uint168 rate, uint128 baseCharge, uint40 paid) external view {
        try this.checkedDeposit(rate, baseCharge, paid) returns (uint256 deposit) {
            assert(Pricing.depositUp(rate, baseCharge, paid) == deposit);
        } catch {
            assert(false);
        }
    }

    function check_chargeIsAtMostTheDeposit(uint168 rate, uint128 baseCharge, uint40 paid, uint40 charged) external pure {
        if (charged > paid) return;
        assert(Pricing.chargeDown(rate, baseCharge, charged) <= Pricing.depositUp(rate, baseCharge, paid));
    }

    function checkedRate(Request calldata request, Offer calldata offer) external pure returns (uint256) {
        return uint256(request.cpuMilli) * offer.cpuRateX18 + uint256(request.memoryMiB) * offer.memoryRateX18
            + uint256(request.diskMiB) * offer.diskRateX18 + uint256(request.gpus) * offer.gpuRateX18;
    }

    function checkedDeposit(uint256 rate, uint256 baseCharge, uint256 paid) external pure returns (uint256) {
        return baseCharge + (rate * paid + X18 - 1) / X18;
    }
}

/// @notice What is taken of a bond is at most the bond. Amounts are under 2**96, shares as they are: the solver is not done with
/// larger ones in minutes.
contract SharesProof {
    function check_compensationIsAtMostTheBond(uint96 bond, uint16 bps, uint96 deposit) external pure {
        Job memory job;
        (job.bond, job.compensationBps) = (bond, bps);
        assert(Pricing.compensationDown(job, deposit) <= bond);
    }

    function check_declineFeeIsAtMostTheBond(uint96 bond, uint96 deposit) external pure {
        Job memory job;
        job.bond = bond;
        assert(Pricing.declineFeeDown(job, deposit) <= bond);
    }
}
