// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice EIP-712 hash of a request. It is the id of the job.
type JobId is bytes32;

/// @notice What a requester wants and what it pays at most. Signed by the requester (and by the payer, if another).
/// @dev Every member is a static word, so `keccak256(abi.encode(TYPEHASH, request))` is the EIP-712 struct hash.
struct Request {
    address requester;
    address payer; // whose balance pays and gets refunds; signs too when it is not the requester
    address matcher; // the only account that may match; zero: anyone
    address token; // ERC-20 of every amount below
    uint128 maxPrice; // token units: the most the payer pays for all replicas and the tip together
    uint128 matcherTip; // token units for whoever matches
    bytes32 specHash; // sha2-256 of the spec's canonical JSON
    uint16 replicas; // how many distinct operators run the job
    uint32 cpuMilli; // thousandths of a core, per replica
    uint32 memoryMiB; // per replica
    uint32 diskMiB; // per replica
    uint16 gpus; // per replica
    uint256 traits; // every bit must be set in the offer
    bytes32 gpuModel; // left-aligned ASCII; zero: any
    bytes32 region; // left-aligned ASCII; zero: any
    uint32 maxSeconds; // the longest run time that can be charged
    uint40 openUntil; // unix seconds: the last second in which it can be matched
    uint32 acceptWindow; // seconds after the match in which the node may decline
    uint32 submitWindow; // seconds after the match in which a result counts
    uint32 challengeWindow; // seconds after the result before anyone may finalize
    address verifier; // decides if a result stands; zero: optimistic
    bytes32 verifierData; // hash of what the verifier needs
    address arbiter; // rules on a dispute; zero: none
    bytes32 arbiterData; // hash of what the arbiter needs
    uint128 arbiterFee; // token units
    uint32 arbiterWindow; // seconds the arbiter has
    uint128 bond; // token units of stake that each operator locks, the most it can lose
    uint16 compensationBps; // share of the deposit paid to the payer out of a slashed bond; at most 1,000
    bytes32 nonce; // chosen by the requester; a new one makes a new job
}

/// @notice A node's firm quote for any number of jobs until its capacity is used. Signed by the node's hot key.
struct Offer {
    address operator;
    uint32 index; // with the operator: the node id
    uint32 epoch; // must equal the node's epoch in the market
    address requester; // the only requester served; zero: anyone
    address token; // ERC-20 of every amount below
    uint128 cpuRateX18; // token units per thousandth of a core and second, scaled by 1e18
    uint128 memoryRateX18; // token units per MiB and second, scaled by 1e18
    uint128 diskRateX18; // token units per MiB and second, scaled by 1e18
    uint128 gpuRateX18; // token units per GPU and second, scaled by 1e18
    uint128 baseCharge; // token units earned by any result
    uint32 cpuMilli; // capacity of the whole node under this offer
    uint32 memoryMiB;
    uint32 diskMiB;
    uint16 gpus;
    uint256 traits; // what the node claims
    bytes32 gpuModel; // left-aligned ASCII
    bytes32 region; // left-aligned ASCII
    uint32 maxSeconds; // the longest job it takes
    uint32 minSubmitMargin; // seconds that a request's submitWindow must leave after its maxSeconds
    uint32 maxSettleSeconds; // the longest challengeWindow plus arbiterWindow it accepts
    uint128 maxBond; // token units: the largest bond it accepts
    uint16 maxCompensationBps;
    address verifier; // must equal the request's, like the five below
    bytes32 verifierData;
    address arbiter;
    bytes32 arbiterData;
    uint128 arbiterFee;
    uint40 expiresAt; // unix seconds: the last second in which it can be matched
}

/// @notice What the operator's cold key lets a node commit to. The market stores only its hash.
struct NodeLimits {
    uint128 maxBond; // token units, per replica
    uint32 maxActive; // replicas at a time
    uint32 cpuMilli; // ceiling of everything in use at a time
    uint32 memoryMiB;
    uint32 diskMiB;
    uint16 gpus;
    address[] tokens; // accepted, in any order
    address[] verifiers; // accepted; zero stands for optimistic
    address[] arbiters; // accepted; zero stands for none
}

/// @notice The full terms of one replica. They travel as calldata and are checked against the stored commitment.
struct Terms {
    Request request;
    Offer offer;
    uint16 replica; // 0 … request.replicas − 1
}

/// @notice What a node claims for a replica.
struct Claim {
    bytes32 resultHash; // sha2-256 of the result record's canonical JSON
    uint64 resultBytes; // length of that record
    uint128 charge; // token units
}

/// @dev None → Posted → Active → Submitted → (Disputed) → Settled | Refunded; None | Posted → Cancelled;
/// Active → Refunded. Posted and Cancelled live in replica 0. Settled, Refunded and Cancelled are final.
enum ReplicaState {
    None,
    Posted,
    Active,
    Submitted,
    Disputed,
    Settled,
    Refunded,
    Cancelled
}

/// @notice Why a replica was refunded.
enum RefundReason {
    Declined,
    TimedOut
}
