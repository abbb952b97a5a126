// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ExactTransfer} from "../libraries/ExactTransfer.sol";
import {IArbiter} from "../market/IArbiter.sol";
import {IJobMarket} from "../market/IJobMarket.sol";
import {OrderHash} from "../market/libraries/OrderHash.sol";
import {Claim, Job, JobId, Terms} from "../market/Orders.sol";
import {IProviderStaking} from "../staking/IProviderStaking.sol";
import {DoubleVote, IJuryArbiter, Panel, Ruling} from "./IJuryArbiter.sol";
import {JurorStakes} from "./JurorStakes.sol";

/// @title m of n jurors; IJuryArbiter is its manual
contract JuryArbiter is JurorStakes, EIP712 {
    using ExactTransfer for IERC20;

    bytes32 private constant VOTE_TYPEHASH =
        keccak256("Vote(bytes32 jobId,uint16 replica,bytes32 claimHash,uint128 award)");

    /// @inheritdoc IJuryArbiter
    IJobMarket public immutable market;

    mapping(JobId jobId => mapping(uint16 replica => mapping(address juror => bool))) private _slashed;

    constructor(IJobMarket market_) EIP712("Berth Jury", "1") {
        market = market_;
    }

    /// @inheritdoc IArbiter
    /// @dev The market checks what is its own: that the replica is disputed, with these terms and this claim, in time.
    function carryOut(Terms calldata terms, Claim calldata claim, bytes calldata evidence)
        external
        returns (uint128 award)
    {
        Ruling memory ruling = _read(evidence);
        Job calldata job = terms.job;
        uint16 replica = terms.assignment.replica;
        _requirePanel(job, ruling.panel);
        _requireSound(ruling.panel);
        award = ruling.award;
        address[] memory voters = _votersOf(ruling, hashVote(job.jobId, replica, claim, award));

        // The market pays the whole fee to the arbiter, whoever loses.
        _share(IERC20(job.token), job.arbiterFee, voters);
        emit RulingCarriedOut(job.jobId, replica, award, voters);
        market.rule(terms, claim, award);
    }

    /// @inheritdoc IJuryArbiter
    function slash(Terms calldata terms, Claim calldata claim, Panel calldata panel, DoubleVote calldata votes)
        external
    {
        (JobId jobId, uint16 replica) = (terms.job.jobId, terms.assignment.replica);
        _requireClaimed(terms, claim);
        _requirePanel(terms.job, panel);
        _requireJuror(panel, votes.juror);
        if (votes.award == votes.otherAward) revert SameAward(votes.award);
        _requireVote(votes.juror, hashVote(jobId, replica, claim, votes.award), votes.signature);
        _requireVote(votes.juror, hashVote(jobId, replica, claim, votes.otherAward), votes.otherSignature);
        if (_slashed[jobId][replica][votes.juror]) revert AlreadySlashed(jobId, replica, votes.juror);

        _slashed[jobId][replica][votes.juror] = true;
        uint128 taken = _takeStake(votes.juror, panel.stakeToken, panel.minStake);
        if (taken == 0) revert NothingToSlash(votes.juror, panel.stakeToken);
        emit JurorSlashed(jobId, votes.juror, panel.stakeToken, replica, taken);
        _owe(market.staking().sink(), panel.stakeToken, taken);
    }

    /// @inheritdoc IJuryArbiter
    function collect(IERC20 token, address to) external {
        uint256 amount = owedTo[msg.sender][token];
        if (amount == 0) revert NothingOwed(msg.sender, token);

        owedTo[msg.sender][token] = 0;
        emit Collected(msg.sender, token, amount, to);
        _gather(token);
        token.give(to, amount);
    }

    /// @inheritdoc IJuryArbiter
    function decode(bytes calldata evidence) external pure returns (Ruling memory) {
        return abi.decode(evidence, (Ruling));
    }

    /// @inheritdoc IJuryArbiter
    function hashVote(JobId jobId, uint16 replica, Claim calldata claim, uint128 award) public view returns (bytes32) {
        bytes32 claimHash = keccak256(abi.encode(claim));
        return _hashTypedDataV4(keccak256(abi.encode(VOTE_TYPEHASH, jobId, replica, claimHash, award)));
    }

    /// @dev In equal parts; what does not divide goes to the first.
    function _share(IERC20 token, uint256 fee, address[] memory voters) private {
        // Rounded down on purpose: the product is what the others get, the first gets what is left.
        // slither-disable-next-line divide-before-multiply
        uint256 part = fee / voters.length;
        for (uint256 i = 0; i < voters.length; ++i) {
            _owe(voters[i], token, i == 0 ? fee - part * (voters.length - 1) : part);
        }
    }

    /// @dev Fetches the fees of disputes that requesters lost (in the market) and that providers lost (in staking).
    function _gather(IERC20 token) private {
        IProviderStaking staking = market.staking();
        uint256 inMarket = market.balanceOf(address(this), token);
        uint256 inStaking = staking.owedTo(address(this), token);
        uint256 before = token.balanceOf(address(this));
        if (inMarket > 0) market.withdraw(address(this), token, inMarket, address(this));
        if (inStaking > 0) staking.collect(address(this), token, address(this));
        uint256 current = token.balanceOf(address(this));
        // Less would be made up out of other people's stakes.
        if (current < before || current - before != inMarket + inStaking) {
            uint256 moved = current < before ? 0 : current - before;
            revert ExactTransfer.WrongAmountMoved(token, inMarket + inStaking, moved);
        }
    }

    /// @dev A call to itself, so that malformed evidence is told apart from everything else.
    function _read(bytes calldata evidence) private view returns (Ruling memory) {
        try this.decode(evidence) returns (Ruling memory ruling) {
            return ruling;
        } catch {
            revert BadEvidence();
        }
    }

    function _requireClaimed(Terms calldata terms, Claim calldata claim) private view {
        (JobId jobId, uint16 replica) = (terms.job.jobId, terms.assignment.replica);
        bytes32 hash = OrderHash.ofClaimed(OrderHash.ofTerms(terms), claim);
        if (market.replicaOf(jobId, replica).commitment != OrderHash.commitment(hash)) {
            revert NotClaimed(jobId, replica);
        }
    }

    function _requirePanel(Job calldata job, Panel memory panel) private view {
        if (job.arbiter != address(this)) revert NotArbiter(job.jobId, job.arbiter);
        bytes32 panelHash = keccak256(abi.encode(panel));
        if (panelHash != job.arbiterData) revert WrongPanel(job.jobId, panelHash, job.arbiterData);
    }

    /// @dev Who voted for the award, all of them with enough at stake.
    function _votersOf(Ruling memory ruling, bytes32 digest) private view returns (address[] memory voters) {
        Panel memory panel = ruling.panel;
        bytes[] memory signatures = ruling.signatures;
        if (signatures.length != panel.jurors.length) {
            revert WrongVoteCount(signatures.length, panel.jurors.length);
        }
        voters = new address[](signatures.length);
        uint256 votes = 0;
        for (uint256 i = 0; i < signatures.length; ++i) {
            if (signatures[i].length == 0) continue;
            address juror = panel.jurors[i];
            _requireVote(juror, digest, signatures[i]);
            uint128 staked = stakeOf(juror, panel.stakeToken).staked;
            if (staked < panel.minStake) revert StakeTooLow(juror, panel.stakeToken, staked, panel.minStake);
            voters[votes++] = juror;
        }
        if (votes < panel.needed) revert TooFewVotes(votes, panel.needed);
        // Cuts off the places of those who did not vote.
        assembly ("memory-safe") {
            mstore(voters, votes)
        }
    }

    /// @dev By key only: what a contract says it signed can change, and then a double vote could not be proved.
    function _requireVote(address juror, bytes32 digest, bytes memory signature) private pure {
        // That recovery failed is enough; how it failed concerns nobody.
        // slither-disable-next-line unused-return
        (address signer, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, signature);
        if (failure != ECDSA.RecoverError.NoError || signer != juror) revert BadVote(juror);
    }

    function _requireJuror(Panel calldata panel, address account) private pure {
        for (uint256 i = 0; i < panel.jurors.length; ++i) {
            if (panel.jurors[i] == account) return;
        }
        revert NotJuror(account);
    }

    /// @dev With half of the votes or less, two awards could both have enough.
    function _requireSound(Panel memory panel) private pure {
        uint256 jurors = panel.jurors.length;
        if (panel.needed > jurors || 2 * uint256(panel.needed) <= jurors) revert UnsoundPanel(jurors, panel.needed);
        for (uint256 i = 1; i < jurors; ++i) {
            if (panel.jurors[i] <= panel.jurors[i - 1]) revert JurorsNotAscending(i);
        }
    }
}
