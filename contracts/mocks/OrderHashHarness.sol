// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {JobWords} from "../market/libraries/JobWords.sol";
import {OrderHash} from "../market/libraries/OrderHash.sol";
import {Assignment, Claim, Job, JobId, Request, Terms} from "../market/Orders.sol";

/// @notice Lets a test call the libraries' internal functions.
contract OrderHashHarness {
    function jobOf(Request calldata request, JobId jobId) external pure returns (Job memory) {
        return JobWords.ofRequest(request, jobId);
    }

    function ofTerms(Terms calldata terms) external pure returns (bytes32) {
        return OrderHash.ofTerms(terms);
    }

    function ofTermsInMemory(Terms calldata terms) external pure returns (bytes32) {
        (Job memory job, Assignment memory assignment) = (terms.job, terms.assignment);
        return OrderHash.ofTerms(OrderHash.ofJob(job), assignment);
    }

    function ofRequestInMemory(Request calldata request, JobId jobId, Assignment calldata by)
        external
        pure
        returns (bytes32)
    {
        Job memory job = JobWords.ofRequest(request, jobId);
        Assignment memory assignment = by;
        return OrderHash.ofTerms(OrderHash.ofJob(job), assignment);
    }

    function ofClaimed(bytes32 termsHash, Claim calldata claim) external pure returns (bytes32) {
        return OrderHash.ofClaimed(termsHash, claim);
    }

    function commitment(bytes32 hash) external pure returns (bytes21) {
        return OrderHash.commitment(hash);
    }
}
