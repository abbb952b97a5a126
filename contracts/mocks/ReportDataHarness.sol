// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReportData} from "../attestation/ReportData.sol";

/// @notice Lets a test call the library's internal functions.
contract ReportDataHarness {
    function hash(ReportData.Fields calldata fields) external pure returns (bytes32) {
        return ReportData.hash(fields);
    }

    function jobNonce(bytes32 offerHash, uint40 matchedAt, bytes32 jobId) external pure returns (bytes32) {
        return ReportData.jobNonce(offerHash, matchedAt, jobId);
    }
}
