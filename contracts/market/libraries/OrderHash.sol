// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Claim, JobId, NodeLimits, Offer, Request} from "../Orders.sol";

/// @title Every hash that orders and replicas are known by
/// @notice The same definitions as `protocol/src/orders.ts`; both are held to the same vectors.
library OrderHash {
    bytes32 internal constant REQUEST_TYPEHASH = keccak256(
        "Request(address requester,address payer,address matcher,address token,uint128 maxPrice,uint128 matcherTip,"
        "bytes32 specHash,uint16 replicas,uint32 cpuMilli,uint32 memoryMiB,uint32 diskMiB,uint16 gpus,uint256 traits,"
        "bytes32 gpuModel,bytes32 region,uint32 maxSeconds,uint40 openUntil,uint32 acceptWindow,uint32 submitWindow,"
        "uint32 challengeWindow,address verifier,bytes32 verifierData,address arbiter,bytes32 arbiterData,"
        "uint128 arbiterFee,uint32 arbiterWindow,uint128 bond,uint16 compensationBps,bytes32 nonce)"
    );
    bytes32 internal constant OFFER_TYPEHASH = keccak256(
        "Offer(address operator,uint32 index,uint32 epoch,address requester,address token,uint128 cpuRateX18,"
        "uint128 memoryRateX18,uint128 diskRateX18,uint128 gpuRateX18,uint128 baseCharge,uint32 cpuMilli,"
        "uint32 memoryMiB,uint32 diskMiB,uint16 gpus,uint256 traits,bytes32 gpuModel,bytes32 region,uint32 maxSeconds,"
        "uint32 minSubmitMargin,uint32 maxSettleSeconds,uint128 maxBond,uint16 maxCompensationBps,address verifier,"
        "bytes32 verifierData,address arbiter,bytes32 arbiterData,uint128 arbiterFee,uint40 expiresAt)"
    );

    uint256 private constant REQUEST_BYTES = 29 * 32;
    uint256 private constant OFFER_BYTES = 28 * 32;

    /// @notice EIP-712 struct hash. Every member is one word, so the struct's calldata is its encoding.
    /// @dev Copied unchecked: whoever uses a member, or emits the struct, has it checked then. A word with stray bits gives
    /// a hash that nobody signed.
    function ofRequest(Request calldata request) internal pure returns (bytes32 structHash) {
        bytes32 typehash = REQUEST_TYPEHASH;
        uint256 size = REQUEST_BYTES;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            calldatacopy(add(free, 0x20), request, size)
            structHash := keccak256(free, add(size, 0x20))
        }
    }

    /// @notice EIP-712 struct hash, made like that of a request.
    function ofOffer(Offer calldata offer) internal pure returns (bytes32 structHash) {
        bytes32 typehash = OFFER_TYPEHASH;
        uint256 size = OFFER_BYTES;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            calldatacopy(add(free, 0x20), offer, size)
            structHash := keccak256(free, add(size, 0x20))
        }
    }

    function ofClaim(Claim calldata claim) internal pure returns (bytes32) {
        return keccak256(abi.encode(claim));
    }

    function ofLimits(NodeLimits calldata limits) internal pure returns (bytes32) {
        return keccak256(abi.encode(limits));
    }

    /// @notice What a replica's slot commits to: job and payer through the job id, node and price through the offer.
    function commitment(JobId jobId, uint16 replica, bytes32 offerHash) internal pure returns (bytes21) {
        return bytes21(keccak256(abi.encode(jobId, replica, offerHash)));
    }
}
