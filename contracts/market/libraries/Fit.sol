// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IMarketErrors} from "../IMarketErrors.sol";
import {NodeUse} from "../IMarketDesk.sol";
import {Job, JobId, Mode, NodeLimits, Offer, Request} from "../Orders.sol";

/// @title Does an offer serve a request, and may its node take it?
/// @notice The same checks, in the same order, as `protocol/src/fit.ts`, and as `protocol/src/sound.ts` what makes a request sound.
library Fit {
    uint16 internal constant MAX_COMPENSATION_BPS = 1000;
    /// @dev A bounty is at most a tenth of the bond.
    uint128 internal constant MAX_BOUNTY_SHARE = 10;
    /// @dev The longest time to wait for a result, a heartbeat or the end of a notice.
    uint32 internal constant MAX_WAIT_SECONDS = 366 days;

    /// @notice What no offer could make good.
    function requireSound(Request memory request, JobId jobId) internal pure {
        if (request.requester == address(0)) _bad(jobId, "requester");
        if (request.replicas == 0) _bad(jobId, "replicas");
        if (request.matcherTip > request.maxPrice) _bad(jobId, "matcherTip");
        if (request.compensationBps > MAX_COMPENSATION_BPS) _bad(jobId, "compensationBps");
        // Or whoever can make a node late would earn its bond.
        if (request.bounty > request.bond / MAX_BOUNTY_SHARE) _bad(jobId, "bounty");
        if (request.submitWindow > MAX_WAIT_SECONDS) _bad(jobId, "submitWindow");
        if (request.heartbeatSeconds > MAX_WAIT_SECONDS) _bad(jobId, "heartbeatSeconds");
        if (request.noticeSeconds > MAX_WAIT_SECONDS) _bad(jobId, "noticeSeconds");
        if (request.mode == Mode.Lease) return _requireSoundLease(request, jobId);
        if (request.submitWindow < request.maxSeconds) _bad(jobId, "submitWindow");
        // Otherwise a node that let its time pass could still decline and keep its bond.
        if (request.acceptWindow > request.submitWindow) _bad(jobId, "acceptWindow");
        // Without time to wait for it, a verifier that is slow or broken would decide by its silence.
        if (request.verifier != address(0) && request.arbiterWindow == 0) _bad(jobId, "arbiterWindow");
        if (request.arbiter == address(0)) return;
        if (request.challengeWindow == 0) _bad(jobId, "challengeWindow");
        if (request.arbiterWindow == 0) _bad(jobId, "arbiterWindow");
        // The loser pays the fee, and the provider pays out of its bond.
        if (request.arbiterFee > request.bond) _bad(jobId, "arbiterFee");
    }

    /// @notice Compares the two orders alone.
    function requireServes(Request memory request, Offer memory offer, bytes32 offerHash) internal view {
        if (block.timestamp > offer.expiresAt) revert IMarketErrors.OfferExpired(offerHash, offer.expiresAt);
        if (request.token != offer.token) _misfit(offerHash, "token");
        if (offer.requester != address(0) && offer.requester != request.requester) _misfit(offerHash, "requester");
        if (request.cpuMilli > offer.cpuMilli) _misfit(offerHash, "cpuMilli");
        if (request.memoryMiB > offer.memoryMiB) _misfit(offerHash, "memoryMiB");
        if (request.diskMiB > offer.diskMiB) _misfit(offerHash, "diskMiB");
        if (request.gpus > offer.gpus) _misfit(offerHash, "gpus");
        if (request.traits & ~offer.traits != 0) _misfit(offerHash, "traits");
        if (request.gpuModel != 0 && request.gpuModel != offer.gpuModel) _misfit(offerHash, "gpuModel");
        if (request.region != 0 && request.region != offer.region) _misfit(offerHash, "region");
        if (request.maxSeconds > offer.maxSeconds) _misfit(offerHash, "maxSeconds");
        if (request.mode == Mode.Lease) {
            uint32 shortest = offer.minHeartbeatSeconds;
            if (shortest == 0 || request.heartbeatSeconds < shortest) _misfit(offerHash, "heartbeatSeconds");
            // A notice keeps the node as a challenge would.
            if (request.noticeSeconds > offer.maxSettleSeconds) _misfit(offerHash, "noticeSeconds");
        } else {
            uint256 latest = uint256(request.maxSeconds) + offer.minSubmitMargin;
            if (request.submitWindow < latest) _misfit(offerHash, "submitWindow");
        }
        uint256 settleSeconds = uint256(request.challengeWindow) + request.arbiterWindow;
        if (settleSeconds > offer.maxSettleSeconds) _misfit(offerHash, "challengeWindow");
        if (request.bond > offer.maxBond) _misfit(offerHash, "bond");
        if (request.compensationBps > offer.maxCompensationBps) _misfit(offerHash, "compensationBps");
        if (request.verifier != offer.verifier) _misfit(offerHash, "verifier");
        if (request.verifierData != offer.verifierData) _misfit(offerHash, "verifierData");
        if (request.arbiter != offer.arbiter) _misfit(offerHash, "arbiter");
        if (request.arbiterData != offer.arbiterData) _misfit(offerHash, "arbiterData");
        if (request.arbiterFee != offer.arbiterFee) _misfit(offerHash, "arbiterFee");
    }

    /// @notice `use` with one replica of `request` more, which neither the operator's limits nor the offer may be too small for.
    function add(NodeUse memory use, NodeLimits memory limits, Request memory request, Offer memory offer)
        internal
        pure
        returns (NodeUse memory)
    {
        if (request.bond > limits.maxBond) _exceeded(offer, "maxBond");
        if (use.active >= limits.maxActive) _exceeded(offer, "maxActive");
        use.touched = true;
        // No overflow: under a limit of 16 bits.
        unchecked {
            use.active += 1;
        }
        // The sums are at most 33 bits long (17 for GPUs), since use never grew past a limit of 32 bits.
        use.cpuMilli = uint40(_grow(use.cpuMilli, request.cpuMilli, limits.cpuMilli, offer, offer.cpuMilli, "cpuMilli"));
        use.memoryMiB =
            uint40(_grow(use.memoryMiB, request.memoryMiB, limits.memoryMiB, offer, offer.memoryMiB, "memoryMiB"));
        use.diskMiB = uint40(_grow(use.diskMiB, request.diskMiB, limits.diskMiB, offer, offer.diskMiB, "diskMiB"));
        use.gpus = uint24(_grow(use.gpus, request.gpus, limits.gpus, offer, offer.gpus, "gpus"));
        return use;
    }

    /// @notice `use` with one replica of `job` less.
    function remove(NodeUse memory use, Job memory job) internal pure returns (NodeUse memory) {
        use.active -= 1;
        use.cpuMilli -= job.cpuMilli;
        use.memoryMiB -= job.memoryMiB;
        use.diskMiB -= job.diskMiB;
        use.gpus -= job.gpus;
        return use;
    }

    /// @dev Nobody judges a lease: it is paid by the second, and either side may end it.
    function _requireSoundLease(Request memory request, JobId jobId) private pure {
        if (request.heartbeatSeconds == 0) _bad(jobId, "heartbeatSeconds");
        // Otherwise a node that fell silent could still decline and keep its bond.
        if (request.acceptWindow > 2 * uint256(request.heartbeatSeconds)) _bad(jobId, "acceptWindow");
        if (request.verifier != address(0)) _bad(jobId, "verifier");
        if (request.arbiter != address(0)) _bad(jobId, "arbiter");
    }

    function _grow(
        uint256 used,
        uint256 needed,
        uint256 limit,
        Offer memory offer,
        uint256 capacity,
        bytes32 field
    ) private pure returns (uint256 sum) {
        // No overflow: at most 40 bits and 32 bits.
        unchecked {
            sum = used + needed;
        }
        if (sum > limit) _exceeded(offer, field);
        if (sum > capacity) {
            uint256 available = capacity > used ? capacity - used : 0;
            revert IMarketErrors.CapacityExceeded(offer.operator, offer.index, field, available, needed);
        }
    }

    function _bad(JobId jobId, bytes32 field) private pure {
        revert IMarketErrors.BadRequest(jobId, field);
    }

    function _misfit(bytes32 offerHash, bytes32 field) private pure {
        revert IMarketErrors.OfferMismatch(offerHash, field);
    }

    function _exceeded(Offer memory offer, bytes32 field) private pure {
        revert IMarketErrors.LimitExceeded(offer.operator, offer.index, field);
    }
}
