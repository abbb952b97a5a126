// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Assignment, Claim, Job, Offer, Request, Terms} from "../Orders.sol";

/// @title Every hash that orders and replicas are known by
/// @notice The same definitions as `protocol/src/orders.ts` and `protocol/src/terms.ts`; both are held to the same vectors.
library OrderHash {
    bytes32 internal constant REQUEST_TYPEHASH = keccak256(
        "Request(address requester,address payer,address matcher,address token,uint128 maxPrice,uint128 matcherTip,"
        "bytes32 specHash,uint8 mode,uint16 replicas,uint32 cpuMilli,uint32 memoryMiB,uint32 diskMiB,uint16 gpus,"
        "uint256 traits,bytes32 gpuModel,bytes32 region,uint32 maxSeconds,uint40 openUntil,uint32 acceptWindow,"
        "uint32 submitWindow,uint32 challengeWindow,uint32 heartbeatSeconds,uint32 noticeSeconds,address verifier,"
        "bytes32 verifierData,address arbiter,bytes32 arbiterData,uint128 arbiterFee,uint32 arbiterWindow,uint128 bond,"
        "uint128 bounty,uint16 compensationBps,uint128 minStake,bytes32 operators,bytes32 nonce)"
    );
    bytes32 internal constant OFFER_TYPEHASH = keccak256(
        "Offer(address operator,uint32 index,uint32 epoch,address requester,address token,uint128 cpuRateX18,"
        "uint128 memoryRateX18,uint128 diskRateX18,uint128 gpuRateX18,uint128 baseCharge,uint32 cpuMilli,"
        "uint32 memoryMiB,uint32 diskMiB,uint16 gpus,uint256 traits,bytes32 gpuModel,bytes32 region,uint32 maxSeconds,"
        "uint32 minSubmitMargin,uint32 minHeartbeatSeconds,uint32 maxSettleSeconds,uint128 maxBond,"
        "uint16 maxCompensationBps,address verifier,bytes32 verifierData,address arbiter,bytes32 arbiterData,"
        "uint128 arbiterFee,uint40 expiresAt)"
    );

    uint256 private constant REQUEST_BYTES = 35 * 32;
    uint256 private constant OFFER_BYTES = 29 * 32;
    uint256 private constant JOB_BYTES = 26 * 32;
    uint256 private constant ASSIGNMENT_BYTES = 6 * 32;
    uint256 private constant CLAIM_BYTES = 3 * 32;

    /// @notice EIP-712 struct hash. Every member is one word, so the struct's memory is its encoding.
    function ofRequest(Request memory request) internal pure returns (bytes32 structHash) {
        bytes32 typehash = REQUEST_TYPEHASH;
        uint256 size = REQUEST_BYTES;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            mcopy(add(free, 0x20), request, size)
            structHash := keccak256(free, add(size, 0x20))
        }
    }

    /// @notice EIP-712 struct hash, made like that of a request.
    function ofOffer(Offer memory offer) internal pure returns (bytes32 structHash) {
        bytes32 typehash = OFFER_TYPEHASH;
        uint256 size = OFFER_BYTES;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            mcopy(add(free, 0x20), offer, size)
            structHash := keccak256(free, add(size, 0x20))
        }
    }

    /// @notice keccak256(abi.encode(job)) of a job in memory, where a struct of words lies as it is encoded.
    function ofJob(Job memory job) internal pure returns (bytes32 hash) {
        uint256 size = JOB_BYTES;
        assembly ("memory-safe") {
            hash := keccak256(job, size)
        }
    }

    /// @notice keccak256(keccak256(abi.encode(job)) ‖ keccak256(abi.encode(assignment))).
    function ofTerms(bytes32 jobHash, Assignment memory assignment) internal pure returns (bytes32 hash) {
        uint256 size = ASSIGNMENT_BYTES;
        assembly ("memory-safe") {
            mstore(0x00, jobHash)
            mstore(0x20, keccak256(assignment, size))
            hash := keccak256(0x00, 0x40)
        }
    }

    /// @notice The same of terms in calldata.
    /// @dev Copied unchecked: a word with stray bits gives a hash that nothing committed to.
    function ofTerms(Terms calldata terms) internal pure returns (bytes32 hash) {
        uint256 jobSize = JOB_BYTES;
        uint256 assignmentSize = ASSIGNMENT_BYTES;
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, terms, add(jobSize, assignmentSize))
            mstore(0x00, keccak256(free, jobSize))
            mstore(0x20, keccak256(add(free, jobSize), assignmentSize))
            hash := keccak256(0x00, 0x40)
        }
    }

    /// @notice keccak256(termsHash ‖ keccak256(abi.encode(claim))): terms and what was claimed under them.
    function ofClaimed(bytes32 termsHash, Claim calldata claim) internal pure returns (bytes32 hash) {
        uint256 size = CLAIM_BYTES;
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, claim, size)
            mstore(0x00, termsHash)
            mstore(0x20, keccak256(free, size))
            hash := keccak256(0x00, 0x40)
        }
    }

    /// @notice What a replica's slot keeps of a hash: its first 168 bits.
    function commitment(bytes32 hash) internal pure returns (bytes21) {
        return bytes21(hash);
    }
}
