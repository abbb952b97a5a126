// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {OrderHash} from "../market/libraries/OrderHash.sol";
import {Claim, JobId, NodeLimits} from "../market/Orders.sol";

/// @notice Lets a test call the library's internal functions.
contract OrderHashHarness {
    function ofClaim(Claim calldata claim) external pure returns (bytes32) {
        return OrderHash.ofClaim(claim);
    }

    function ofLimits(NodeLimits calldata limits) external pure returns (bytes32) {
        return OrderHash.ofLimits(limits);
    }

    function commitment(JobId jobId, uint16 replica, bytes32 offerHash) external pure returns (bytes21) {
        return OrderHash.commitment(jobId, replica, offerHash);
    }
}
