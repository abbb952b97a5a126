// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarketDesk} from "../IMarketDesk.sol";
import {Replica} from "../IMarketFloor.sol";
import {OrderWords} from "../libraries/OrderWords.sol";
import {Pricing} from "../libraries/Pricing.sol";
import {MarketState} from "../MarketState.sol";
import {Claim, Job, JobId, ReplicaState, Terms} from "../Orders.sol";

/// @notice A requester contests a result, the arbiter that both orders name rules.
abstract contract Disputes is IMarketDesk, MarketState {
    /// @inheritdoc IMarketDesk
    function dispute(Terms calldata agreed, Claim calldata claimed) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica) = _named(terms);
        Job memory job = terms.job;
        if (replica.state != ReplicaState.Judging) {
            _requireState(jobId, index, replica.state, ReplicaState.Submitted);
        }
        _requireClaim(terms, claimed, replica);
        if (!_controls(job.requester)) revert NotRequester(jobId, msg.sender);
        if (job.arbiter == address(0)) revert NotArbiter(jobId, msg.sender, address(0));
        _requireOpen(jobId, index, replica.lastAt + job.challengeWindow);

        replica.state = ReplicaState.Disputed;
        replica.lastAt = uint40(block.timestamp);
        _replicas[jobId][index] = replica;
        _debit(job.requester, job.token, job.arbiterFee);
        emit ReplicaDisputed(jobId, job.requester, index, job.arbiterFee);
    }

    /// @inheritdoc IMarketDesk
    function rule(Terms calldata agreed, Claim calldata claimed, uint128 award) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica) = _named(terms);
        Job memory job = terms.job;
        _requireState(jobId, index, replica.state, ReplicaState.Disputed);
        _requireClaim(terms, claimed, replica);
        if (msg.sender != job.arbiter) revert NotArbiter(jobId, msg.sender, job.arbiter);
        _requireOpen(jobId, index, replica.lastAt + job.arbiterWindow);
        if (award > claimed.charge) revert AwardTooHigh(jobId, index, award, claimed.charge);
        uint256 deposited = _depositOf(terms);
        bool upheld = award == claimed.charge;
        // Fits in 128 bits: at most the bond.
        uint128 fault = upheld ? 0 : uint128(Pricing.faultDown(job, claimed.charge, award));

        replica.state = ReplicaState.Settled;
        _replicas[jobId][index] = replica;
        emit ReplicaRuled(jobId, job.arbiter, index, award, fault);
        // The loser pays the fee, which the requester advanced.
        _credit(upheld ? job.arbiter : job.requester, job.token, job.arbiterFee);
        _pay(terms, deposited, award);
        if (upheld) _unlockBond(terms);
        else _slashFault(terms, deposited, fault);
    }

    /// @dev First what both signed for the victim, then the fee; so the victim's share comes second to none but the fee's room.
    function _slashFault(Terms memory terms, uint256 deposited, uint128 fault) private {
        uint128 fee = terms.job.arbiterFee;
        // Fits in 128 bits: at most the bond.
        uint128 compensation = uint128(Pricing.compensationDown(terms.job, deposited));
        uint128 left = fault - fee;
        _slash(terms, fault, terms.job.payer, compensation < left ? compensation : left, terms.job.arbiter, fee);
    }
}
