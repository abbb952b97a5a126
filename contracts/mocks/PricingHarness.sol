// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Pricing} from "../market/libraries/Pricing.sol";
import {Job, Offer, Request, Terms} from "../market/Orders.sol";

/// @notice Lets a test call the library's internal functions.
contract PricingHarness {
    function rateX18(Request calldata request, Offer calldata offer) external pure returns (uint256) {
        return Pricing.rateX18(request, offer);
    }

    function depositUp(uint256 rate, uint256 baseCharge, uint256 paidSeconds) external pure returns (uint256) {
        return Pricing.depositUp(rate, baseCharge, paidSeconds);
    }

    function chargeDown(uint256 rate, uint256 baseCharge, uint256 chargedSeconds) external pure returns (uint256) {
        return Pricing.chargeDown(rate, baseCharge, chargedSeconds);
    }

    function depositOf(Terms calldata terms) external pure returns (uint256) {
        return Pricing.depositOf(terms.job, terms.assignment);
    }

    function compensationDown(Job calldata job, uint256 deposit) external pure returns (uint256) {
        return Pricing.compensationDown(job, deposit);
    }

    function declineFeeDown(Job calldata job, uint256 deposit) external pure returns (uint256) {
        return Pricing.declineFeeDown(job, deposit);
    }

    function faultDown(Job calldata job, uint256 claimed, uint256 award) external pure returns (uint256) {
        return Pricing.faultDown(job, claimed, award);
    }
}
