// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PricingHarness} from "../../../contracts/mocks/PricingHarness.sol";
import {Job, Offer, Request} from "../../../contracts/market/Orders.sol";
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
        uint256 held = _held(request, offer);
        _assertLe(_charge(request, offer, elapsed), held, "charge");
        _assertLe(held - _charge(request, offer, terms.maxSeconds), 1, "a full run leaves one unit at most");
    }

    function testFuzz_chargeGrowsWithTimeFromTheBaseChargeOn(Terms memory terms, uint32 sooner, uint32 later)
        external
        view
    {
        (Request memory request, Offer memory offer) = _orders(terms);
        if (sooner > later) (sooner, later) = (later, sooner);
        uint256 first = _charge(request, offer, sooner);
        _assertLe(first, _charge(request, offer, later), "charge after less time");
        _assertEq(_charge(request, offer, 0), terms.baseCharge, "charge after no time");
    }

    function testFuzz_roundingNeverCostsAWholeUnit(Terms memory terms, uint32 elapsed) external view {
        (Request memory request, Offer memory offer) = _orders(terms);
        uint256 exactX18 = _pricing.rateX18(request, offer) * terms.maxSeconds;
        uint256 heldX18 = (_held(request, offer) - terms.baseCharge) * 1e18;
        _assertTrue(heldX18 >= exactX18 && heldX18 - exactX18 < 1e18, "deposits are rounded up, by less than one");
        if (elapsed > terms.maxSeconds) elapsed = terms.maxSeconds;
        exactX18 = _pricing.rateX18(request, offer) * elapsed;
        uint256 chargeX18 = (_charge(request, offer, elapsed) - terms.baseCharge) * 1e18;
        _assertTrue(chargeX18 <= exactX18 && exactX18 - chargeX18 < 1e18, "charges are rounded down, by less than one");
    }

    function testFuzz_compensationNeverPassesTheBondOrItsShare(uint128 bond, uint16 bps, uint128 held) external view {
        Job memory job = _job(bond, bps, 0);
        uint256 compensation = _pricing.compensationDown(job, held);
        _assertLe(compensation, job.bond, "compensation and bond");
        _assertLe(compensation * 10_000, uint256(held) * job.compensationBps, "compensation and share");
    }

    function testFuzz_aRulingTakesTheFeeAtLeastAndTheBondAtMost(uint128 bond, uint128 fee, uint128 claimed, uint128 award)
        external
        view
    {
        VM.assume(claimed > 0 && fee <= bond);
        Job memory job = _job(bond, 0, fee);
        award %= claimed;
        uint256 fault = _pricing.faultDown(job, claimed, award);
        _assertLe(fault, job.bond, "fault and bond");
        _assertLe(job.arbiterFee, fault, "fee and fault");
        _assertEq(_pricing.faultDown(job, claimed, 0), job.bond, "fault where nothing is awarded");
    }

    function testFuzz_aDeclineCostsAHundredthOrTheBond(uint128 bond, uint128 held) external view {
        Job memory job = _job(bond, 0, 0);
        uint256 fee = _pricing.declineFeeDown(job, held);
        _assertLe(fee, job.bond, "fee and bond");
        _assertLe(fee * 100, held, "fee and deposit");
    }

    function testFuzz_manyClaimsPayWhatOneWould(Terms memory terms, uint32 sooner, uint32 later) external view {
        (Request memory request, Offer memory offer) = _orders(terms);
        if (sooner > later) (sooner, later) = (later, sooner);
        uint256 rate = _pricing.rateX18(request, offer);
        uint256 first = _pricing.chargeDown(rate, offer.baseCharge, sooner);
        uint256 both = _pricing.chargeDown(rate, offer.baseCharge, later);
        _assertEq(first + (both - first), both, "two claims");
        _assertLe(both, _pricing.depositUp(rate, offer.baseCharge, later), "earned and held");
    }

    function _job(uint128 bond, uint16 bps, uint128 fee) private pure returns (Job memory job) {
        (job.bond, job.compensationBps, job.arbiterFee) = (bond, bps, fee);
    }

    function _held(Request memory request, Offer memory offer) private view returns (uint256) {
        return _pricing.depositUp(_pricing.rateX18(request, offer), offer.baseCharge, request.maxSeconds);
    }

    function _charge(Request memory request, Offer memory offer, uint256 elapsed) private view returns (uint256) {
        uint256 chargeable = elapsed < request.maxSeconds ? elapsed : request.maxSeconds;
        return _pricing.chargeDown(_pricing.rateX18(request, offer), offer.baseCharge, chargeable);
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
