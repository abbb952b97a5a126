// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IArbiter} from "../market/IArbiter.sol";
import {IJobMarket} from "../market/IJobMarket.sol";
import {Claim, JobId, Terms} from "../market/Orders.sol";

/// @notice Who judges. `arbiterData` of both orders is keccak256(abi.encode(panel)).
struct Panel {
    address[] jurors; // ascending, each once; their own keys sign, so no contracts
    uint16 needed; // votes for the same award; more than half of the jurors
    IERC20 stakeToken;
    uint128 minStake; // token units that a juror has staked when its vote counts, and the most it can lose in one dispute
}

/// @notice Evidence for `carryOut`, ABI-encoded.
struct Ruling {
    Panel panel;
    uint128 award; // token units for the operator
    bytes[] signatures; // one per juror, in the panel's order; empty: no vote
}

/// @notice Two votes of one juror.
struct DoubleVote {
    address juror;
    uint128 award;
    bytes signature;
    uint128 otherAward;
    bytes otherSignature;
}

/// @notice What a juror put up in one token.
struct JurorStake {
    uint128 staked; // token units that let votes count
    uint128 leaving; // token units on their way out; they can still be slashed
    uint40 readyAt; // unix seconds at which they may leave
}

/// @title A jury of named, staked jurors
/// @notice A juror signs the EIP-712 struct `Vote(bytes32 jobId,uint16 replica,bytes32 claimHash,uint128 award)`, off chain and for
/// free; `claimHash` is keccak256(abi.encode(claim)). Whoever wants the ruling collects votes and carries it out. The deadline
/// and what happens without a ruling are the market's: after the arbiter's window the provider is paid.
/// The arbiter's fee is shared by the jurors whose votes were carried. A juror who signs two awards for one dispute loses up
/// to the panel's `minStake`, to the sink: neither who reports it nor anybody else earns by it.
/// A stake backs every panel that its juror sits on at the same time; panels ask for as much as their disputes are worth.
///
/// Nothing in the market knows this contract. The market takes the ruling of whatever account both orders name, and never calls
/// it: so a court of ERC-792 fits as well, behind a small contract that both orders name as arbiter. That contract is the
/// court's *arbitrable* side: somebody shows it a disputed replica and pays the court's own cost with `createDispute`; the
/// court calls its `rule(disputeId, ruling)`; it turns the option chosen into an award ("refuse to rule": it does nothing, and
/// the market's default holds) and puts that through with `IJobMarket.rule`. The arbiter's fee reaches that contract like
/// this one, and can pay back the cost. `arbiterWindow` has to be longer than the court takes, appeals included.
interface IJuryArbiter is IArbiter {
    event Staked(address indexed juror, IERC20 indexed token, uint128 amount);
    event ExitRequested(address indexed juror, IERC20 indexed token, uint128 amount, uint40 readyAt);
    event Exited(address indexed juror, IERC20 indexed token, uint128 amount, address to);
    event RulingCarriedOut(JobId indexed jobId, uint16 replica, uint128 award, address[] voters);
    event JurorSlashed(
        JobId indexed jobId, address indexed juror, IERC20 indexed token, uint16 replica, uint128 amount
    );
    /// @notice A fee's share, or what a slash took, now waits to be collected.
    event Owed(address indexed account, IERC20 indexed token, uint256 amount);
    event Collected(address indexed account, IERC20 indexed token, uint256 amount, address to);

    error ZeroAmount();
    error StakeTooLow(address juror, IERC20 token, uint128 staked, uint128 needed);
    error NothingLeaving(address juror, IERC20 token);
    error ExitNotReady(uint40 readyAt);
    error BadEvidence();
    error NotArbiter(JobId jobId, address arbiter);
    error WrongPanel(JobId jobId, bytes32 panelHash, bytes32 arbiterData);
    error UnsoundPanel(uint256 jurors, uint16 needed);
    error JurorsNotAscending(uint256 index);
    error WrongVoteCount(uint256 signatures, uint256 jurors);
    error BadVote(address juror);
    error TooFewVotes(uint256 votes, uint16 needed);
    error NotClaimed(JobId jobId, uint16 replica);
    error NotJuror(address account);
    error SameAward(uint128 award);
    error AlreadySlashed(JobId jobId, uint16 replica, address juror);
    error NothingToSlash(address juror, IERC20 token);
    error NothingOwed(address account, IERC20 token);

    /// @notice Adds to the caller's stake.
    /// @custom:reverts ZeroAmount; ExactTransfer's errors
    /// @custom:emits Staked
    function stake(IERC20 token, uint128 amount) external;

    /// @notice Starts to take stake out. It lets no vote count from now on, and can be slashed until it has left. Adds to an
    /// exit under way and restarts its clock.
    /// @custom:reverts ZeroAmount, StakeTooLow
    /// @custom:emits ExitRequested
    function requestExit(IERC20 token, uint128 amount) external;

    /// @notice Pays the caller's ready exit to `to`.
    /// @custom:reverts NothingLeaving, ExitNotReady
    /// @custom:emits Exited
    function exit(IERC20 token, address to) external;

    /// @notice Takes the stake of a juror who signed two awards for one dispute. Anyone may, once per juror and dispute.
    /// @param claim as submitted for the replica
    /// @custom:reverts NotClaimed when the market does not hold these terms and this claim; NotArbiter, WrongPanel, NotJuror,
    /// SameAward, BadVote, AlreadySlashed, NothingToSlash
    /// @custom:emits JurorSlashed, Owed
    function slash(Terms calldata terms, Claim calldata claim, Panel calldata panel, DoubleVote calldata votes) external;

    /// @notice Pays what is owed to the caller to `to`.
    /// @custom:reverts NothingOwed; ExactTransfer's errors
    /// @custom:emits Collected
    function collect(IERC20 token, address to) external;

    /// @notice Reads evidence. Reverts when it is malformed.
    function decode(bytes calldata evidence) external pure returns (Ruling memory);

    /// @notice What a juror signs.
    function hashVote(JobId jobId, uint16 replica, Claim calldata claim, uint128 award) external view returns (bytes32);
    function stakeOf(address juror, IERC20 token) external view returns (JurorStake memory);
    /// @notice Token units that wait for `collect`.
    function owedTo(address account, IERC20 token) external view returns (uint256);
    function market() external view returns (IJobMarket);
    /// @notice Seconds between `requestExit` and `exit`.
    function EXIT_DELAY() external view returns (uint40); // solhint-disable-line func-name-mixedcase
}
