// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice EIP-712 hash of a request. It is the id of the job.
type JobId is bytes32;

/// @notice Batch: runs to completion, the charge is metered. Lease: a service paid by the second until somebody closes it.
enum Mode {
    Batch,
    Lease
}

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
    Mode mode;
    uint16 replicas; // how many distinct operators run the job
    uint32 cpuMilli; // thousandths of a core, per replica
    uint32 memoryMiB; // per replica
    uint32 diskMiB; // per replica
    uint16 gpus; // per replica
    uint256 traits; // every bit must be set in the offer
    bytes32 gpuModel; // left-aligned ASCII; zero: any
    bytes32 region; // left-aligned ASCII; zero: any
    uint32 maxSeconds; // batch: the longest run time that can be charged; lease: the time that the deposit pays for
    uint40 openUntil; // unix seconds: the last second in which it can be matched
    uint32 acceptWindow; // seconds after the match in which the node may decline
    uint32 submitWindow; // batch: seconds after the match in which a result counts
    uint32 challengeWindow; // batch: seconds after the result before anyone may finalize
    uint32 heartbeatSeconds; // lease: a claim charges at most so much time; after two without a claim anyone may close
    uint32 noticeSeconds; // lease: seconds from a notice to the end
    address verifier; // decides if a result stands; zero: nobody, it stands unless disputed
    bytes32 verifierData; // read by the verifier alone: its parameters packed, or the hash of what comes with the proof
    address arbiter; // rules on a dispute; zero: none
    bytes32 arbiterData; // read by the arbiter alone, likewise
    uint128 arbiterFee; // token units, paid by the loser of a dispute
    uint32 arbiterWindow; // seconds the arbiter has; also how long an undecided verifier is waited for
    uint128 bond; // token units of stake that each operator locks, the most it can lose
    uint128 bounty; // token units for whoever finalizes a missed deadline, at most a tenth of the bond
    uint16 compensationBps; // share of the deposit paid to the payer out of a slashed bond; at most 1,000
    uint128 minStake; // token units that each operator must have staked, the bond included
    bytes32 operators; // root of a Merkle tree of the only operators allowed; zero: anyone
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
    uint32 maxSeconds; // the longest batch job, or first deposit of a lease, that it takes
    uint32 minSubmitMargin; // seconds that a request's submitWindow must leave after its maxSeconds
    uint32 minHeartbeatSeconds; // the shortest heartbeat of a lease that it takes; zero: no leases
    uint32 maxSettleSeconds; // the longest challengeWindow plus arbiterWindow, or notice of a lease, that it accepts
    uint128 maxBond; // token units: the largest bond it accepts
    uint16 maxCompensationBps;
    address verifier; // must equal the request's, like the five below
    bytes32 verifierData;
    address arbiter;
    bytes32 arbiterData;
    uint128 arbiterFee;
    uint40 expiresAt; // unix seconds: the last second in which it can be matched
}

/// @notice What the operator's cold key lets a node commit to. One slot.
struct NodeLimits {
    uint128 maxBond; // token units, per replica
    uint16 maxActive; // replicas at a time
    uint32 cpuMilli; // ceiling of everything in use at a time
    uint32 memoryMiB;
    uint32 diskMiB;
    uint16 gpus;
}

/// @notice What of a request goes on to matter once it is a job: the same for all its replicas.
struct Job {
    JobId jobId;
    address requester;
    address payer;
    address token;
    bytes32 specHash;
    Mode mode;
    uint16 replicas;
    uint32 cpuMilli;
    uint32 memoryMiB;
    uint32 diskMiB;
    uint16 gpus;
    uint32 maxSeconds;
    uint32 acceptWindow;
    uint32 submitWindow;
    uint32 challengeWindow;
    uint32 heartbeatSeconds;
    uint32 noticeSeconds;
    address verifier;
    bytes32 verifierData;
    address arbiter;
    bytes32 arbiterData;
    uint128 arbiterFee;
    uint32 arbiterWindow;
    uint128 bond;
    uint128 bounty;
    uint16 compensationBps;
}

/// @notice Who does one replica of a job, at what price.
struct Assignment {
    uint16 replica; // 0 … job.replicas − 1
    address operator;
    uint32 index; // with the operator: the node id
    bytes32 offerHash; // EIP-712 hash of the matched offer
    uint256 rateX18; // token units per second for all resources together, scaled by 1e18
    uint128 baseCharge; // token units earned by any result
}

/// @notice What two orders came to: the full terms of one replica. The market stores only a commitment to them; they travel as
/// calldata, and anyone can put them together from the events of the match.
struct Terms {
    Job job;
    Assignment assignment;
}

/// @notice What a node claims for a replica.
struct Claim {
    bytes32 resultHash; // sha2-256 of the result record's canonical JSON; with a quorum a seal over it
    uint64 resultBytes; // length of that record
    uint128 charge; // token units
}

/// @dev None → Posted → Active → Submitted | Judging → (Disputed) → Settled | Refunded; None | Posted → Cancelled;
/// Active → Settled | Refunded. Posted and Cancelled live in replica 0. Settled, Refunded and Cancelled are final.
enum ReplicaState {
    None,
    Posted,
    Active,
    Submitted, // stands unless disputed
    Judging, // the verifier has not said yet that it stands
    Disputed,
    Settled,
    Refunded,
    Cancelled
}

/// @notice Why a replica was refunded.
enum RefundReason {
    Declined, // the node gave it back
    TimedOut, // no result in time, or a lease without a sign of life
    Refused, // the verifier says that the result does not stand
    Undecided, // the verifier did not say anything in time
    Left // the node left a gang that had lost another member
}
