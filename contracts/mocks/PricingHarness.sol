// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Pricing} from "../market/libraries/Pricing.sol";
import {Offer, Request} from "../market/Orders.sol";

/// @notice Lets a test call the library's internal functions.
contract PricingHarness {
    function rateX18(Request calldata request, Offer calldata offer) external pure returns (uint256) {
        return Pricing.rateX18(request, offer);
    }

    function depositUp(Request calldata request, Offer calldata offer) external pure returns (uint256) {
        return Pricing.depositUp(request, offer);
    }

    function chargeDown(Request calldata request, Offer calldata offer, uint256 elapsed)
        external
        pure
        returns (uint256)
    {
        return Pricing.chargeDown(request, offer, elapsed);
    }

    function compensationDown(Request calldata request, uint256 deposit) external pure returns (uint256) {
        return Pricing.compensationDown(request, deposit);
    }
}
