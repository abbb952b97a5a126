// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IJobMarket, NodeUse} from "../IJobMarket.sol";
import {JobId, NodeLimits, Offer, Request} from "../Orders.sol";

/// @title Does an offer serve a request, and may its node take it?
/// @notice The same checks, in the same order, as `protocol/src/fit.ts`.
library Fit {
    uint16 internal constant MAX_COMPENSATION_BPS = 1000;

    /// @notice What no offer could make good.
    function requireSound(Request calldata request, JobId jobId) internal pure {
        if (request.requester == address(0)) revert IJobMarket.BadRequest(jobId, "requester");
        if (request.replicas == 0) revert IJobMarket.BadRequest(jobId, "replicas");
        if (request.matcherTip > request.maxPrice) revert IJobMarket.BadRequest(jobId, "matcherTip");
        if (request.submitWindow < request.maxSeconds) revert IJobMarket.BadRequest(jobId, "submitWindow");
        // Otherwise a node that let its time pass could still decline and keep its bond.
        if (request.acceptWindow > request.submitWindow) revert IJobMarket.BadRequest(jobId, "acceptWindow");
        if (request.compensationBps > MAX_COMPENSATION_BPS) revert IJobMarket.BadRequest(jobId, "compensationBps");
        // This version settles optimistically: nobody else decides.
        if (request.verifier != address(0)) revert IJobMarket.BadRequest(jobId, "verifier");
        if (request.arbiter != address(0)) revert IJobMarket.BadRequest(jobId, "arbiter");
    }

    /// @notice Compares the two orders alone.
    function requireServes(Request calldata request, Offer calldata offer, bytes32 offerHash) internal view {
        if (block.timestamp > offer.expiresAt) revert IJobMarket.OfferExpired(offerHash, offer.expiresAt);
        _need(request.token == offer.token, offerHash, "token");
        _need(offer.requester == address(0) || offer.requester == request.requester, offerHash, "requester");
        _need(request.cpuMilli <= offer.cpuMilli, offerHash, "cpuMilli");
        _need(request.memoryMiB <= offer.memoryMiB, offerHash, "memoryMiB");
        _need(request.diskMiB <= offer.diskMiB, offerHash, "diskMiB");
        _need(request.gpus <= offer.gpus, offerHash, "gpus");
        _need(request.traits & ~offer.traits == 0, offerHash, "traits");
        _need(request.gpuModel == 0 || request.gpuModel == offer.gpuModel, offerHash, "gpuModel");
        _need(request.region == 0 || request.region == offer.region, offerHash, "region");
        _need(request.maxSeconds <= offer.maxSeconds, offerHash, "maxSeconds");
        uint256 latest = uint256(request.maxSeconds) + offer.minSubmitMargin;
        _need(request.submitWindow >= latest, offerHash, "submitWindow");
        uint256 settleSeconds = uint256(request.challengeWindow) + request.arbiterWindow;
        _need(settleSeconds <= offer.maxSettleSeconds, offerHash, "challengeWindow");
        _need(request.bond <= offer.maxBond, offerHash, "bond");
        _need(request.compensationBps <= offer.maxCompensationBps, offerHash, "compensationBps");
        _need(request.verifier == offer.verifier, offerHash, "verifier");
        _need(request.verifierData == offer.verifierData, offerHash, "verifierData");
        _need(request.arbiter == offer.arbiter, offerHash, "arbiter");
        _need(request.arbiterData == offer.arbiterData, offerHash, "arbiterData");
        _need(request.arbiterFee == offer.arbiterFee, offerHash, "arbiterFee");
    }

    /// @notice The operator's cold key bounds what the node's hot key may sign.
    function requireWithin(NodeLimits calldata limits, Request calldata request, Offer calldata offer) internal pure {
        if (request.bond > limits.maxBond) _exceeded(offer, "maxBond");
        if (!_has(limits.tokens, request.token)) _exceeded(offer, "tokens");
        if (!_has(limits.verifiers, request.verifier)) _exceeded(offer, "verifiers");
        if (!_has(limits.arbiters, request.arbiter)) _exceeded(offer, "arbiters");
    }

    /// @notice `use` with one replica of `request` more, which neither the limits nor the offer may be too small for.
    function add(NodeUse memory use, NodeLimits calldata limits, Request calldata request, Offer calldata offer)
        internal
        pure
        returns (NodeUse memory)
    {
        if (use.active >= limits.maxActive) _exceeded(offer, "maxActive");
        use.touched = true;
        use.active += 1;
        // The sums are at most 33 bits long, since use never grew past a limit of 32 bits.
        use.cpuMilli = uint48(_grow(use.cpuMilli, request.cpuMilli, limits.cpuMilli, offer, offer.cpuMilli, "cpuMilli"));
        use.memoryMiB =
            uint48(_grow(use.memoryMiB, request.memoryMiB, limits.memoryMiB, offer, offer.memoryMiB, "memoryMiB"));
        use.diskMiB = uint48(_grow(use.diskMiB, request.diskMiB, limits.diskMiB, offer, offer.diskMiB, "diskMiB"));
        use.gpus = uint32(_grow(use.gpus, request.gpus, limits.gpus, offer, offer.gpus, "gpus"));
        return use;
    }

    /// @notice `use` with one replica of `request` less.
    function remove(NodeUse memory use, Request calldata request) internal pure returns (NodeUse memory) {
        use.active -= 1;
        use.cpuMilli -= request.cpuMilli;
        use.memoryMiB -= request.memoryMiB;
        use.diskMiB -= request.diskMiB;
        use.gpus -= request.gpus;
        return use;
    }

    function _grow(
        uint256 used,
        uint256 needed,
        uint256 limit,
        Offer calldata offer,
        uint256 capacity,
        bytes32 field
    ) private pure returns (uint256 sum) {
        sum = used + needed;
        if (sum > limit) _exceeded(offer, field);
        if (sum > capacity) {
            uint256 available = capacity > used ? capacity - used : 0;
            revert IJobMarket.CapacityExceeded(offer.operator, offer.index, field, available, needed);
        }
    }

    function _need(bool fits, bytes32 offerHash, bytes32 field) private pure {
        if (!fits) revert IJobMarket.OfferMismatch(offerHash, field);
    }

    function _exceeded(Offer calldata offer, bytes32 field) private pure {
        revert IJobMarket.LimitExceeded(offer.operator, offer.index, field);
    }

    function _has(address[] calldata list, address item) private pure returns (bool) {
        for (uint256 i = 0; i < list.length; ++i) {
            if (list[i] == item) return true;
        }
        return false;
    }
}
