// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PricingHarness} from "../../../contracts/mocks/PricingHarness.sol";
import {Offer, Request} from "../../../contracts/market/Orders.sol";
import {TestKit} from "./TestKit.sol";

/// @notice Every member of an order that a price depends on.
struct Terms {
    uint32 cpuMilli;
    uint32 memoryMiB;
    uint32 diskMiB;
    uint16 gpus;
    uint32 maxSeconds;
    uint128 cpuRateX18;
    uint128 memoryRateX18;
    uint128 diskRateX18;
    uint128 gpuRateX18;
    uint128 baseCharge;
    uint128 bond;
    uint16 compensationBps;
}

contract PricingTest is TestKit {
    PricingHarness private _pricing = new PricingHarness();

    function testFuzz_chargeNeverPassesTheDeposit(Terms memory terms, uint256 elapsed) external view {
        (Request memory request, Offer memory offer) = _orders(terms);
        uint256 held = _pricing.depositUp(request, offer);
        _assertLe(_pricing.chargeDown(request, offer, elapsed), held, "charge");
        _assertLe(held - _pricing.chargeDown(request, offer, terms.maxSeconds), 1, "a full run leaves one unit at most");
    }

    function testFuzz_chargeGrowsWithTimeFromTheBaseChargeOn(Terms memory terms, uint32 sooner, uint32 later)
        external
        view
    {
        (Request memory request, Offer memory offer) = _orders(terms);
        if (sooner > later) (sooner, later) = (later, sooner);
        uint256 first = _pricing.chargeDown(request, offer, sooner);
        _assertLe(first, _pricing.chargeDown(request, offer, later), "charge after less time");
        _assertEq(_pricing.chargeDown(request, offer, 0), terms.baseCharge, "charge after no time");
    }

    function testFuzz_roundingNeverCostsAWholeUnit(Terms memory terms, uint32 elapsed) external view {
        (Request memory request, Offer memory offer) = _orders(terms);
        uint256 exactX18 = _pricing.rateX18(request, offer) * terms.maxSeconds;
        uint256 heldX18 = (_pricing.depositUp(request, offer) - terms.baseCharge) * 1e18;
        _assertTrue(heldX18 >= exactX18 && heldX18 - exactX18 < 1e18, "deposits are rounded up, by less than one");
        if (elapsed > terms.maxSeconds) elapsed = terms.maxSeconds;
        exactX18 = _pricing.rateX18(request, offer) * elapsed;
        uint256 chargeX18 = (_pricing.chargeDown(request, offer, elapsed) - terms.baseCharge) * 1e18;
        _assertTrue(chargeX18 <= exactX18 && exactX18 - chargeX18 < 1e18, "charges are rounded down, by less than one");
    }

    function testFuzz_compensationNeverPassesTheBondOrItsShare(Terms memory terms, uint128 held) external view {
        (Request memory request,) = _orders(terms);
        uint256 compensation = _pricing.compensationDown(request, held);
        _assertLe(compensation, terms.bond, "compensation and bond");
        _assertLe(compensation * 10_000, uint256(held) * terms.compensationBps, "compensation and share");
    }

    function _orders(Terms memory terms) private pure returns (Request memory request, Offer memory offer) {
        (request.cpuMilli, request.memoryMiB, request.diskMiB) = (terms.cpuMilli, terms.memoryMiB, terms.diskMiB);
        (request.gpus, request.maxSeconds) = (terms.gpus, terms.maxSeconds);
        (request.bond, request.compensationBps) = (terms.bond, terms.compensationBps);
        (offer.cpuRateX18, offer.memoryRateX18) = (terms.cpuRateX18, terms.memoryRateX18);
        (offer.diskRateX18, offer.gpuRateX18) = (terms.diskRateX18, terms.gpuRateX18);
        offer.baseCharge = terms.baseCharge;
    }
}
