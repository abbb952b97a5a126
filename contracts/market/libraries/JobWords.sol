// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IMarketEvents} from "../IMarketEvents.sol";
import {Job, JobId, Request} from "../Orders.sol";

/// @title A job as words
/// @notice Every member of a request and of a job is one word, and most of them stand in the same order in both. So words are moved in
/// runs, which costs a tenth of moving members. `test/contracts/market/orders.vectors.test.ts` holds the layout.
library JobWords {
    /// @notice What of `request` goes on to matter once it is a job.
    function ofRequest(Request memory request, JobId jobId) internal pure returns (Job memory job) {
        assembly ("memory-safe") {
            job := mload(0x40)
            mstore(0x40, add(job, 0x340))
            mstore(job, jobId)
            // requester, payer
            mcopy(add(job, 0x20), request, 0x40)
            // token
            mcopy(add(job, 0x60), add(request, 0x60), 0x20)
            // specHash, mode, replicas, cpuMilli, memoryMiB, diskMiB, gpus
            mcopy(add(job, 0x80), add(request, 0xc0), 0xe0)
            // maxSeconds
            mcopy(add(job, 0x160), add(request, 0x200), 0x20)
            // acceptWindow … compensationBps
            mcopy(add(job, 0x180), add(request, 0x240), 0x1c0)
        }
    }

    /// @notice Emits `JobMatched`, whose data are four words and the job.
    function emitMatched(Job memory job, uint128 spent, uint128 released, uint128 tip) internal {
        bytes32 topic = IMarketEvents.JobMatched.selector;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, caller())
            mstore(add(data, 0x20), spent)
            mstore(add(data, 0x40), released)
            mstore(add(data, 0x60), tip)
            mcopy(add(data, 0x80), job, 0x340)
            log3(data, 0x3c0, topic, mload(job), mload(add(job, 0x20)))
        }
    }
}
