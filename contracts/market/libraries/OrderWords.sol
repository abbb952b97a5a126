// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IMarketErrors} from "../IMarketErrors.sol";
import {Offer, Request, Terms} from "../Orders.sol";

/// @title Orders from calldata into memory, in one piece
/// @notice Every member of an order is one word. Reading members from calldata checks each of them each time, about 100 gas;
/// here all words are copied at once and checked together, by width.
library OrderWords {
    /// @custom:reverts StrayBits when a word is no value of its member's type
    function read(Request calldata order) internal pure returns (Request memory request) {
        uint256 stray;
        assembly ("memory-safe") {
            calldatacopy(request, order, 0x460)
            let words
            // 160 bits: requester, payer, matcher, token, verifier, arbiter
            words := mload(request)
            words := or(words, mload(add(request, 0x20)))
            words := or(words, mload(add(request, 0x40)))
            words := or(words, mload(add(request, 0x60)))
            words := or(words, mload(add(request, 0x2e0)))
            words := or(words, mload(add(request, 0x320)))
            stray := or(stray, shr(160, words))
            // 128 bits: maxPrice, matcherTip, arbiterFee, bond, bounty, minStake
            words := mload(add(request, 0x80))
            words := or(words, mload(add(request, 0xa0)))
            words := or(words, mload(add(request, 0x360)))
            words := or(words, mload(add(request, 0x3a0)))
            words := or(words, mload(add(request, 0x3c0)))
            words := or(words, mload(add(request, 0x400)))
            stray := or(stray, shr(128, words))
            // 40 bits: openUntil
            stray := or(stray, shr(40, mload(add(request, 0x220))))
            // 32 bits: cpuMilli, memoryMiB, diskMiB, maxSeconds, acceptWindow, submitWindow, challengeWindow,
            //    heartbeatSeconds, noticeSeconds, arbiterWindow
            words := mload(add(request, 0x120))
            words := or(words, mload(add(request, 0x140)))
            words := or(words, mload(add(request, 0x160)))
            words := or(words, mload(add(request, 0x200)))
            words := or(words, mload(add(request, 0x240)))
            words := or(words, mload(add(request, 0x260)))
            words := or(words, mload(add(request, 0x280)))
            words := or(words, mload(add(request, 0x2a0)))
            words := or(words, mload(add(request, 0x2c0)))
            words := or(words, mload(add(request, 0x380)))
            stray := or(stray, shr(32, words))
            // 16 bits: replicas, gpus, compensationBps
            words := mload(add(request, 0x100))
            words := or(words, mload(add(request, 0x180)))
            words := or(words, mload(add(request, 0x3e0)))
            stray := or(stray, shr(16, words))
            // one of two: mode
            stray := or(stray, shr(1, mload(add(request, 0xe0))))
        }
        if (stray != 0) revert IMarketErrors.StrayBits();
    }

    /// @custom:reverts StrayBits when a word is no value of its member's type
    function read(Offer calldata order) internal pure returns (Offer memory offer) {
        uint256 stray;
        assembly ("memory-safe") {
            calldatacopy(offer, order, 0x3a0)
            let words
            // 160 bits: operator, requester, token, verifier, arbiter
            words := mload(offer)
            words := or(words, mload(add(offer, 0x60)))
            words := or(words, mload(add(offer, 0x80)))
            words := or(words, mload(add(offer, 0x2e0)))
            words := or(words, mload(add(offer, 0x320)))
            stray := or(stray, shr(160, words))
            // 128 bits: cpuRateX18, memoryRateX18, diskRateX18, gpuRateX18, baseCharge, maxBond, arbiterFee
            words := mload(add(offer, 0xa0))
            words := or(words, mload(add(offer, 0xc0)))
            words := or(words, mload(add(offer, 0xe0)))
            words := or(words, mload(add(offer, 0x100)))
            words := or(words, mload(add(offer, 0x120)))
            words := or(words, mload(add(offer, 0x2a0)))
            words := or(words, mload(add(offer, 0x360)))
            stray := or(stray, shr(128, words))
            // 40 bits: expiresAt
            stray := or(stray, shr(40, mload(add(offer, 0x380))))
            // 32 bits: index, epoch, cpuMilli, memoryMiB, diskMiB, maxSeconds, minSubmitMargin, minHeartbeatSeconds,
            //    maxSettleSeconds
            words := mload(add(offer, 0x20))
            words := or(words, mload(add(offer, 0x40)))
            words := or(words, mload(add(offer, 0x140)))
            words := or(words, mload(add(offer, 0x160)))
            words := or(words, mload(add(offer, 0x180)))
            words := or(words, mload(add(offer, 0x220)))
            words := or(words, mload(add(offer, 0x240)))
            words := or(words, mload(add(offer, 0x260)))
            words := or(words, mload(add(offer, 0x280)))
            stray := or(stray, shr(32, words))
            // 16 bits: gpus, maxCompensationBps
            words := mload(add(offer, 0x1a0))
            words := or(words, mload(add(offer, 0x2c0)))
            stray := or(stray, shr(16, words))
        }
        if (stray != 0) revert IMarketErrors.StrayBits();
    }

    /// @dev Unchecked: nothing but finding the replica may be done with terms before their hash equals its commitment, and a word
    /// with stray bits gives a hash that nothing committed to.
    function read(Terms calldata calldataTerms) internal pure returns (Terms memory terms) {
        assembly ("memory-safe") {
            calldatacopy(mload(terms), calldataTerms, 0x340)
            calldatacopy(mload(add(terms, 0x20)), add(calldataTerms, 0x340), 0xc0)
        }
    }
}
