// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {OrderHash} from "../market/libraries/OrderHash.sol";
import {Assignment, Claim, Job, Terms} from "../market/Orders.sol";

/// @notice Lets a test call the library's internal functions.
contract OrderHashHarness {
    function ofTerms(Terms calldata terms) external pure returns (bytes32) {
        return OrderHash.ofTerms(terms);
    }

    function ofTermsInMemory(Job memory job, Assignment memory assignment) external pure returns (bytes32) {
        return OrderHash.ofTerms(OrderHash.ofJob(job), assignment);
    }

    function ofClaimed(bytes32 termsHash, Claim calldata claim) external pure returns (bytes32) {
        return OrderHash.ofClaimed(termsHash, claim);
    }
}
