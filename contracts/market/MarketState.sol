// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {IProviderStaking} from "../staking/IProviderStaking.sol";
import {Lease, NodeUse} from "./IMarketDesk.sol";
import {IMarketErrors} from "./IMarketErrors.sol";
import {IMarketEvents} from "./IMarketEvents.sol";
import {Replica} from "./IMarketFloor.sol";
import {Fit} from "./libraries/Fit.sol";
import {OrderHash} from "./libraries/OrderHash.sol";
import {Pricing} from "./libraries/Pricing.sol";
import {Assignment, Claim, JobId, Mode, NodeLimits, RefundReason, ReplicaState, Request, Terms} from "./Orders.sol";

/// @notice Everything that the market stores, and the few ways in which it changes hands. The two halves of the market (the floor
/// and the desk) share it, so that no rule has two versions.
abstract contract MarketState is EIP712, IMarketEvents, IMarketErrors {
    address internal _guardian;
    // The desk writes these three, on this storage: slither looks at each half alone.
    // slither-disable-next-line uninitialized-state
    bool internal _paused;

    mapping(address account => mapping(address token => uint256)) internal _balances;
    mapping(address operator => mapping(uint32 index => NodeUse)) internal _uses;
    // slither-disable-next-line uninitialized-state
    mapping(address operator => mapping(uint32 index => NodeLimits)) internal _limits;
    // slither-disable-next-line uninitialized-state
    mapping(address operator => mapping(address what => bool)) internal _accepted;
    mapping(JobId jobId => mapping(uint16 replica => Replica)) internal _replicas;
    mapping(JobId jobId => mapping(uint16 replica => Lease)) internal _leases;

    IIdentityRegistry internal immutable _IDENTITY;

    constructor(IIdentityRegistry identity) EIP712("Berth", "1") {
        _IDENTITY = identity;
    }

    function _staking() internal view virtual returns (IProviderStaking);

    // Money

    function _credit(address account, address token, uint256 amount) internal {
        if (amount > 0) _balances[account][token] += amount;
    }

    function _debit(address account, address token, uint256 amount) internal {
        if (amount == 0) return;
        uint256 balance = _balances[account][token];
        if (balance < amount) revert BalanceTooLow(account, IERC20(token), balance, amount);
        // No underflow: compared in the line above.
        unchecked {
            _balances[account][token] = balance - amount;
        }
    }

    // Who may

    /// @dev Who controls the identity speaks for the account and its money, so a key that was rotated away does not.
    function _controls(address account) internal view returns (bool) {
        return msg.sender == _IDENTITY.controllerOf(account);
    }

    /// @dev Keys that are expired, or were rotated away a moment ago, count here: a running job must never be stranded.
    function _requireNode(address operator, uint32 index) internal view {
        if (!_IDENTITY.mayAct(operator, index, msg.sender)) revert NotNode(operator, index, msg.sender);
    }

    // Requests

    function _requireAuthorized(
        Request memory request,
        JobId jobId,
        bytes calldata requesterSignature,
        bytes calldata payerSignature
    ) internal view {
        Fit.requireSound(request, jobId);
        if (!_agreed(request.requester, jobId, requesterSignature)) {
            revert BadRequestSignature(jobId, request.requester);
        }
        if (request.payer != request.requester && !_agreed(request.payer, jobId, payerSignature)) {
            revert BadPayerSignature(jobId, request.payer);
        }
    }

    function _agreed(address account, JobId jobId, bytes calldata signature) private view returns (bool) {
        address controller = _IDENTITY.controllerOf(account);
        return msg.sender == controller || Signatures.signed(controller, JobId.unwrap(jobId), signature);
    }

    function _requireNew(Request memory request, JobId jobId) internal view {
        if (_paused) revert NewJobsPaused();
        if (block.timestamp > request.openUntil) revert RequestExpired(jobId, request.openUntil);
    }

    // Replicas

    /// @dev The replica that `terms` name, without any check that they are its terms.
    function _named(Terms memory terms) internal view returns (JobId jobId, uint16 index, Replica memory replica) {
        (jobId, index) = (terms.job.jobId, terms.assignment.replica);
        replica = _replicas[jobId][index];
    }

    /// @dev The replica of `terms`, which runs.
    function _active(Terms memory terms) internal view returns (JobId jobId, uint16 index, Replica memory replica) {
        (jobId, index, replica) = _named(terms);
        _requireActive(terms, replica);
    }

    /// @return termsHash of `terms`, which are the replica's
    function _requireActive(Terms memory terms, Replica memory replica) internal pure returns (bytes32 termsHash) {
        (JobId jobId, uint16 index) = (terms.job.jobId, terms.assignment.replica);
        _requireState(jobId, index, replica.state, ReplicaState.Active);
        termsHash = _termsHash(terms);
        if (replica.commitment != OrderHash.commitment(termsHash)) revert WrongTerms(jobId, index);
    }

    function _requireClaim(Terms memory terms, Claim calldata claim, Replica memory replica) internal pure {
        bytes32 hash = OrderHash.ofClaimed(_termsHash(terms), claim);
        if (replica.commitment != OrderHash.commitment(hash)) revert WrongClaim(terms.job.jobId, terms.assignment.replica);
    }

    function _requireState(JobId jobId, uint16 replica, ReplicaState state, ReplicaState needed) internal pure {
        if (state != needed) revert WrongState(jobId, replica, state, needed);
    }

    function _requireMode(Terms memory terms, Mode mode) internal pure {
        if (terms.job.mode != mode) revert WrongMode(terms.job.jobId, terms.job.mode);
    }

    function _requireOpen(JobId jobId, uint16 replica, uint40 closesAt) internal view {
        if (block.timestamp > closesAt) revert WindowClosed(jobId, replica, closesAt);
    }

    function _requirePassed(JobId jobId, uint16 replica, uint256 closesAt) internal view {
        if (block.timestamp <= closesAt) revert WindowOpen(jobId, replica, uint40(closesAt));
    }

    /// @dev Gives back what the match took of the node. Called on every edge out of Active, once.
    function _vacate(Terms memory terms) internal {
        NodeUse storage use = _uses[terms.assignment.operator][terms.assignment.index];
        _uses[terms.assignment.operator][terms.assignment.index] = Fit.remove(use, terms.job);
    }

    /// @dev Pays `charge` to the operator and what is left of `deposit` to the payer.
    function _pay(Terms memory terms, uint256 deposit, uint256 charge) internal {
        address token = terms.job.token;
        uint256 refund = deposit - charge;
        _credit(terms.assignment.operator, token, charge);
        _credit(terms.job.payer, token, refund);
        emit ReplicaSettled(terms.job.jobId, terms.assignment.operator, terms.assignment.replica, charge, refund);
    }

    function _unlockBond(Terms memory terms) internal {
        uint128 bond = terms.job.bond;
        if (bond > 0) _staking().unlock(terms.assignment.operator, IERC20(terms.job.token), bond);
    }

    /// @dev The whole bond: compensation to the payer, the bounty to whoever called, the rest to the sink.
    function _slashForSilence(Terms memory terms, uint256 deposit) internal {
        uint128 bond = terms.job.bond;
        if (bond == 0) return;
        // Fit in 128 bits: parts of the bond.
        uint128 compensation = uint128(Pricing.compensationDown(terms.job, deposit));
        uint128 left = bond - compensation;
        uint128 bounty = terms.job.bounty < left ? terms.job.bounty : left;
        _slash(terms, bond, terms.job.payer, compensation, msg.sender, bounty);
    }

    function _slash(
        Terms memory terms,
        uint128 amount,
        address victim,
        uint128 compensation,
        address helper,
        uint128 reward
    ) internal {
        address operator = terms.assignment.operator;
        IERC20 token = IERC20(terms.job.token);
        _staking().slash(operator, token, terms.job.bond, amount, victim, compensation, helper, reward);
    }

    /// @dev Gives the whole deposit back to the payer. What becomes of the bond is said by the caller.
    function _refund(Terms memory terms, uint256 deposit, uint128 slashed, RefundReason reason) internal {
        _credit(terms.job.payer, terms.job.token, deposit);
        address operator = terms.assignment.operator;
        emit ReplicaRefunded(terms.job.jobId, operator, terms.assignment.replica, deposit, slashed, reason);
    }

    /// @dev What is held for a replica that nothing was paid out of: its deposit and what topped it up.
    /// @param addedSeconds of a lease; none of a batch job
    function _heldOf(Terms memory terms, uint256 addedSeconds) internal pure returns (uint256) {
        Assignment memory by = terms.assignment;
        return Pricing.depositUp(by.rateX18, by.baseCharge, terms.job.maxSeconds + addedSeconds);
    }

    function _termsHash(Terms memory terms) internal pure returns (bytes32) {
        return OrderHash.ofTerms(OrderHash.ofJob(terms.job), terms.assignment);
    }

    function _depositOf(Terms memory terms) internal pure returns (uint256) {
        return Pricing.depositOf(terms.job, terms.assignment);
    }

    function _hashRequest(Request memory request) internal view returns (JobId) {
        return JobId.wrap(_hashTypedDataV4(OrderHash.ofRequest(request)));
    }
}
