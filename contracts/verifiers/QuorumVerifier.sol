// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IJobMarket} from "../market/IJobMarket.sol";
import {Replica} from "../market/IMarketFloor.sol";
import {IVerifier, Verdict} from "../market/IVerifier.sol";
import {OrderHash} from "../market/libraries/OrderHash.sol";
import {Assignment, Claim, Job, JobId, ReplicaState, Terms} from "../market/Orders.sol";
import {Flaw, IQuorumVerifier, Opening, Quorum} from "./IQuorumVerifier.sol";
import {Tally} from "./Tally.sol";

/// @title k of n equal results; IQuorumVerifier is its manual
contract QuorumVerifier is IQuorumVerifier {
    /// @dev One slot. In the usual job, where all agree, there is no other.
    struct Reveals {
        bytes24 first; // digest of group 1
        uint64 groups; // see Tally
    }

    /// @inheritdoc IQuorumVerifier
    bytes32 public constant SEAL_DOMAIN = keccak256("berth/quorum-seal/v1");
    /// @inheritdoc IQuorumVerifier
    uint16 public constant MAX_REPLICAS = Tally.MAX_REPLICAS;

    /// @inheritdoc IQuorumVerifier
    IJobMarket public immutable market;

    uint256 private constant JOB_BYTES = 26 * 32;

    mapping(JobId jobId => Reveals) private _reveals;
    mapping(JobId jobId => mapping(uint256 group => bytes24 digest)) private _others; // of groups 2 and up

    constructor(IJobMarket market_) {
        market = market_;
    }

    /// @inheritdoc IQuorumVerifier
    function reveal(Job calldata job, Opening[] calldata openings) external {
        JobId jobId = job.jobId;
        // The first argument, and all of it words: its calldata is its encoding.
        bytes32 jobHash = keccak256(msg.data[4:4 + JOB_BYTES]);
        Reveals memory reveals = _reveals[jobId];
        for (uint256 i = 0; i < openings.length; ++i) {
            uint40 matchedAt = _requireCommitted(jobId, jobHash, openings[i]);
            if (i == 0) _requireOpen(job, matchedAt, reveals.groups);
            _count(jobId, reveals, openings[i]);
        }
        _reveals[jobId] = reveals;
    }

    /// @inheritdoc IVerifier
    /// @dev The market's own wait ends after the reveal (Flaw.SettleWindow), so Pending is never its last word on sound terms.
    function judge(Terms calldata terms, Claim calldata, bytes calldata) external view returns (Verdict) {
        Job calldata job = terms.job;
        uint64 groups = _reveals[job.jobId].groups;
        uint256 own = Tally.groupOf(groups, terms.assignment.replica);
        if (own == 0) return _isOver(terms) && flawOf(job) == Flaw.Sound ? Verdict.Fails : Verdict.Pending;
        // Sound from here on, or nothing could have been revealed.
        uint256 agreeing = _quorumOf(job).agreeing;
        (uint256 revealed, uint256 largest, uint256 size) = Tally.count(groups);
        if (size >= agreeing) return own == largest ? Verdict.Stands : Verdict.Fails;
        // Those who are still silent could not make it enough either.
        if (size + (job.replicas - revealed) < agreeing) return Verdict.Void;
        return _isOver(terms) ? Verdict.Void : Verdict.Pending;
    }

    /// @inheritdoc IQuorumVerifier
    function digestOf(JobId jobId, uint16 replica) external view returns (bytes24) {
        Reveals memory reveals = _reveals[jobId];
        uint256 group = Tally.groupOf(reveals.groups, replica);
        return group == 1 ? reveals.first : _others[jobId][group];
    }

    /// @inheritdoc IQuorumVerifier
    function revealWindow(Job calldata job) external view returns (uint40 opensAfter, uint40 closesAt) {
        uint40 matchedAt = market.replicaOf(job.jobId, 0).matchedAt;
        return (_opensAfter(job, matchedAt), _closesAt(job, matchedAt));
    }

    /// @inheritdoc IQuorumVerifier
    function flawOf(Job calldata job) public pure returns (Flaw) {
        Quorum memory quorum = _quorumOf(job);
        if (uint256(job.verifierData) >> 80 != 0) return Flaw.Encoding;
        if (job.replicas > MAX_REPLICAS) return Flaw.Replicas;
        if (quorum.agreeing > job.replicas || 2 * uint256(quorum.agreeing) <= job.replicas) return Flaw.Agreeing;
        if (quorum.revealSeconds == 0) return Flaw.RevealSeconds;
        if (job.compensationBps != 0) return Flaw.Compensation;
        uint256 needed = _closesAt(job, 0);
        if (uint256(job.challengeWindow) + job.arbiterWindow < needed) return Flaw.SettleWindow;
        if (job.arbiter != address(0) && job.challengeWindow < needed) return Flaw.ChallengeWindow;
        return Flaw.Sound;
    }

    /// @inheritdoc IQuorumVerifier
    function sealOf(
        JobId jobId,
        uint16 replica,
        address operator,
        bytes32 outputDigest,
        bytes32 resultHash,
        bytes32 salt
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(SEAL_DOMAIN, jobId, replica, operator, outputDigest, resultHash, salt));
    }

    /// @dev Puts a replica into the group of those that found the same.
    function _count(JobId jobId, Reveals memory reveals, Opening calldata opening) private {
        uint16 replica = opening.assignment.replica;
        if (Tally.groupOf(reveals.groups, replica) != 0) return;
        bytes24 digest = bytes24(opening.outputDigest);
        uint256 known = Tally.groupsIn(reveals.groups);
        uint256 group = 1;
        while (group <= known && digest != (group == 1 ? reveals.first : _others[jobId][group])) ++group;
        if (known == 0) reveals.first = digest;
        else if (group > known) _others[jobId][group] = digest;
        reveals.groups = Tally.joined(reveals.groups, replica, group);
        emit Revealed(jobId, opening.assignment.operator, replica, opening.outputDigest, opening.resultHash);
    }

    /// @dev The market's slot commits to the claim from the submission on and for good, so nothing else is asked of its state.
    function _requireCommitted(JobId jobId, bytes32 jobHash, Opening calldata opening)
        private
        view
        returns (uint40 matchedAt)
    {
        Assignment calldata by = opening.assignment;
        Replica memory slot = market.replicaOf(jobId, by.replica);
        bytes32 hash = OrderHash.ofClaimed(OrderHash.ofTerms(jobHash, by), opening.claim);
        if (slot.commitment != OrderHash.commitment(hash)) revert NotCommitted(jobId, by.replica);
        bytes32 seal =
            sealOf(jobId, by.replica, by.operator, opening.outputDigest, opening.resultHash, opening.salt);
        if (opening.claim.resultHash != seal) revert WrongSeal(jobId, by.replica);
        return slot.matchedAt;
    }

    /// @param job as the market committed to it
    function _requireOpen(Job calldata job, uint40 matchedAt, uint64 groups) private view {
        if (job.verifier != address(this)) revert OtherVerifier(job.jobId, job.verifier);
        Flaw flaw = flawOf(job);
        if (flaw != Flaw.Sound) revert UnsoundQuorum(job.jobId, flaw);
        uint40 closesAt = _closesAt(job, matchedAt);
        if (block.timestamp > closesAt) revert RevealClosed(job.jobId, closesAt);
        // Where somebody revealed, it is open: who has left Active does not come back.
        if (groups != 0) return;
        uint40 opensAfter = _opensAfter(job, matchedAt);
        if (block.timestamp <= opensAfter) revert RevealNotOpen(job.jobId, opensAfter);
    }

    /// @dev A dispute moves a replica's time too, but never past the end of the submit window here.
    function _opensAfter(Job calldata job, uint40 matchedAt) private view returns (uint40) {
        uint40 commitsUntil = matchedAt + job.submitWindow;
        uint40 lastCommit = 0;
        for (uint16 i = 0; i < job.replicas && lastCommit < commitsUntil; ++i) {
            Replica memory replica = market.replicaOf(job.jobId, i);
            uint40 leftAt = replica.state == ReplicaState.Active ? commitsUntil : replica.lastAt;
            if (leftAt > lastCommit) lastCommit = leftAt;
        }
        return (lastCommit < commitsUntil ? lastCommit : commitsUntil) + _quorumOf(job).confirmSeconds;
    }

    function _isOver(Terms calldata terms) private view returns (bool) {
        uint40 matchedAt = market.replicaOf(terms.job.jobId, terms.assignment.replica).matchedAt;
        return block.timestamp > _closesAt(terms.job, matchedAt);
    }

    /// @dev Fixed by the match alone: so nobody can shorten or stretch it, and it is the same for all replicas.
    function _closesAt(Job calldata job, uint40 matchedAt) private pure returns (uint40) {
        Quorum memory quorum = _quorumOf(job);
        return matchedAt + uint40(job.submitWindow) + quorum.confirmSeconds + quorum.revealSeconds;
    }

    function _quorumOf(Job calldata job) private pure returns (Quorum memory) {
        uint256 word = uint256(job.verifierData);
        // Each member is cut to its own bits; `flawOf` refuses what lies above.
        return Quorum(uint16(word >> 64), uint32(word >> 32), uint32(word));
    }
}
