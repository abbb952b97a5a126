// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IJobMarket} from "../market/IJobMarket.sol";
import {IVerifier} from "../market/IVerifier.sol";
import {Assignment, Claim, Job, JobId} from "../market/Orders.sol";

/// @notice What both orders agree on. It fits into `verifierData` itself, from the lowest bits up: `confirmSeconds`,
/// `revealSeconds`, `agreeing`, and zeros above. So every later question can be answered without carrying it along.
struct Quorum {
    uint16 agreeing; // replicas that must have the same output; more than half of all
    uint32 revealSeconds; // how long every node has at least to reveal
    uint32 confirmSeconds; // how old the last commit must be before anybody reveals: so deep no reorganisation goes
}

/// @notice What a replica's seal hides, and what it was submitted with.
struct Opening {
    Assignment assignment;
    Claim claim; // as submitted; `resultHash` is the seal
    bytes32 outputDigest; // what is compared
    bytes32 resultHash; // sha2-256 of the result record's canonical JSON
    bytes32 salt;
}

/// @notice How an order's quorum is unsound. `Sound` when it is not.
enum Flaw {
    Sound,
    Encoding, // bits above the quorum are set
    Replicas, // more than MAX_REPLICAS
    Agreeing, // more than all, or not more than half
    RevealSeconds, // none
    Compensation, // somebody would earn by a slash
    SettleWindow, // challengeWindow + arbiterWindow end before the reveal may
    ChallengeWindow // an arbiter is named, and the requester could not contest what was revealed last
}

/// @title Results stand when enough nodes found the same
/// @notice Commit, reveal, count.
/// *Commit*: a node submits to the market with `claim.resultHash` = `sealOf(…)`, which hides its output and is worth nothing
/// to another replica. *Reveal*: once nobody can commit any more (every replica has left Active, or the submit window has
/// passed) and the last commit is older than `confirmSeconds`, anyone may open a seal. The reveal ends
/// `submitWindow + confirmSeconds + revealSeconds` after the match, whatever anybody does. *Count*: as soon as `agreeing`
/// replicas have the same output digest, those and all that still reveal it are paid.
///
/// | at the end of the reveal | same output as `agreeing` | another output | silent |
/// |---|---|---|---|
/// | enough agree | Stands | Fails | Fails |
/// | no agreement | – | Void | Fails |
///
/// An answer other than Pending never changes again. A bond that fails goes to the sink whole.
/// Terms with a flaw are never judged: the market refunds them as Undecided, and no bond is lost by an order that a node
/// could not see whole when it signed its offer. Whoever commits to a quorum should check `flawOf` first.
/// What is compared is the digest of the outputs, never logs, times or signatures. `agreeing` operators who are one can
/// outvote the rest: requesters name operators or a minimum stake, nodes sign for bonds that they can lose.
interface IQuorumVerifier is IVerifier {
    /// @param outputDigest what was compared
    /// @param resultHash sha2-256 of the result record's canonical JSON, by which the requester finds it
    event Revealed(
        JobId indexed jobId, address indexed operator, uint16 replica, bytes32 outputDigest, bytes32 resultHash
    );

    error NotCommitted(JobId jobId, uint16 replica);
    error OtherVerifier(JobId jobId, address verifier);
    error UnsoundQuorum(JobId jobId, Flaw flaw);
    error WrongSeal(JobId jobId, uint16 replica);
    error RevealNotOpen(JobId jobId, uint40 opensAfter);
    error RevealClosed(JobId jobId, uint40 closedAt);

    /// @notice Opens seals of one job. Anyone may carry them: a node its own, or somebody all that were handed over, in a
    /// transaction that costs hardly more. An opening that was carried before is passed over. A replica that was disputed or
    /// approved in between still counts, so that a requester cannot take votes away from the others.
    /// @custom:reverts NotCommitted when the market does not hold exactly these terms and this claim; OtherVerifier,
    /// UnsoundQuorum, WrongSeal, RevealNotOpen, RevealClosed
    /// @custom:emits Revealed for each that is new
    function reveal(Job calldata job, Opening[] calldata openings) external;

    /// @notice The first 192 bits of the output digest that a replica revealed; zero when it has not.
    function digestOf(JobId jobId, uint16 replica) external view returns (bytes24);

    /// @notice When seals of a matched job may be opened, as it looks now: after `opensAfter`, up to `closesAt`.
    function revealWindow(Job calldata job) external view returns (uint40 opensAfter, uint40 closesAt);

    /// @notice What is wrong with the quorum of a job.
    function flawOf(Job calldata job) external pure returns (Flaw);

    /// @notice keccak256(abi.encode(SEAL_DOMAIN, jobId, replica, operator, outputDigest, resultHash, salt))
    function sealOf(
        JobId jobId,
        uint16 replica,
        address operator,
        bytes32 outputDigest,
        bytes32 resultHash,
        bytes32 salt
    ) external pure returns (bytes32);

    function market() external view returns (IJobMarket);
    // solhint-disable func-name-mixedcase
    function SEAL_DOMAIN() external view returns (bytes32);
    function MAX_REPLICAS() external view returns (uint16);
    // solhint-enable func-name-mixedcase
}
