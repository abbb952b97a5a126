// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {IProviderStaking} from "../staking/IProviderStaking.sol";
import {ProviderStaking} from "../staking/ProviderStaking.sol";
import {IJobMarket, Replica} from "./IJobMarket.sol";
import {Ledger} from "./Ledger.sol";
import {Fit} from "./libraries/Fit.sol";
import {OrderHash} from "./libraries/OrderHash.sol";
import {Pricing} from "./libraries/Pricing.sol";
import {NodeBook} from "./NodeBook.sol";
import {Claim, JobId, NodeLimits, Offer, RefundReason, ReplicaState, Request, Terms} from "./Orders.sol";

/// @title The job market; IJobMarket is its manual
contract JobMarket is NodeBook, EIP712 {
    /// @inheritdoc IJobMarket
    IProviderStaking public immutable staking;

    mapping(JobId jobId => mapping(uint16 replica => Replica)) private _replicas;
    mapping(JobId jobId => mapping(uint16 replica => bytes32 claimHash)) private _results;

    /// @param sink who gets what slashes leave after the victim
    constructor(IIdentityRegistry identity_, address sink) Ledger(identity_) EIP712("Berth", "1") {
        // Made here, so that neither contract needs somebody who may set the other.
        staking = new ProviderStaking(identity_, address(this), sink);
    }

    /// @inheritdoc IJobMarket
    function post(Request calldata request, bytes calldata requesterSignature, bytes calldata payerSignature)
        external
        returns (JobId jobId)
    {
        jobId = hashRequest(request);
        ReplicaState state = _replicas[jobId][0].state;
        if (state != ReplicaState.None) revert WrongState(jobId, 0, state, ReplicaState.None);
        _requireAuthorized(request, jobId, requesterSignature, payerSignature);
        _requireOpen(request, jobId);

        _replicas[jobId][0] = Replica(ReplicaState.Posted, 0, 0, bytes21(JobId.unwrap(jobId)));
        _debit(request.payer, request.token, request.maxPrice);
        emit RequestPosted(jobId, request.requester, request);
    }

    /// @inheritdoc IJobMarket
    function cancel(Request calldata request) external {
        JobId jobId = hashRequest(request);
        ReplicaState state = _replicas[jobId][0].state;
        bool posted = state == ReplicaState.Posted;
        if (!posted && state != ReplicaState.None) revert WrongState(jobId, 0, state, ReplicaState.Posted);
        if (!_controls(request.requester)) {
            if (!posted) revert NotRequester(jobId, msg.sender);
            if (block.timestamp <= request.openUntil) revert RequestStillOpen(jobId, request.openUntil);
        }

        _replicas[jobId][0].state = ReplicaState.Cancelled;
        uint128 released = posted ? request.maxPrice : 0;
        _credit(request.payer, request.token, released);
        emit RequestCancelled(jobId, released);
    }

    /// @inheritdoc IJobMarket
    function matchJob(
        Request calldata request,
        bytes calldata requesterSignature,
        bytes calldata payerSignature,
        Offer[] calldata offers,
        bytes[] calldata offerSignatures,
        NodeLimits[] calldata limits
    ) external returns (JobId jobId) {
        bool posted;
        (jobId, posted) = _admit(request, requesterSignature, payerSignature);
        _bindAll(request, jobId, posted, offers, offerSignatures, limits);
    }

    /// @inheritdoc IJobMarket
    function accept(Request calldata request, Offer calldata offer, NodeLimits calldata limits)
        external
        returns (JobId jobId)
    {
        jobId = hashRequest(request);
        ReplicaState state = _replicas[jobId][0].state;
        if (state != ReplicaState.Posted) revert WrongState(jobId, 0, state, ReplicaState.Posted);
        _requireCounts(request, jobId, 1, 1, 1);
        address key = _requireKey(request, offer);
        if (msg.sender != key) revert NotNode(offer.operator, offer.index, msg.sender);

        _open(request, jobId, Pricing.depositUp(request, offer) + request.matcherTip, true);
        _bind(request, jobId, 0, offer, hashOffer(offer), limits);
    }

    /// @inheritdoc IJobMarket
    function decline(Terms calldata terms) external {
        (JobId jobId, Replica memory replica) = _load(terms);
        _requireState(jobId, terms.replica, replica.state, ReplicaState.Active);
        _requireNode(terms.offer.operator, terms.offer.index);
        uint40 closedAt = replica.matchedAt + terms.request.acceptWindow;
        if (block.timestamp > closedAt) revert WindowClosed(jobId, terms.replica, closedAt);

        _replicas[jobId][terms.replica].state = ReplicaState.Refunded;
        _vacate(terms);
        uint128 refund = _deposit(terms);
        _credit(terms.request.payer, terms.request.token, refund);
        emit ReplicaRefunded(jobId, terms.offer.operator, terms.replica, refund, 0, 0, RefundReason.Declined);
        _unlockBond(terms);
    }

    /// @inheritdoc IJobMarket
    function submit(Terms calldata terms, Claim calldata claim) external {
        (JobId jobId, Replica memory replica) = _load(terms);
        _requireState(jobId, terms.replica, replica.state, ReplicaState.Active);
        _requireNode(terms.offer.operator, terms.offer.index);
        uint40 closedAt = replica.matchedAt + terms.request.submitWindow;
        if (block.timestamp > closedAt) revert WindowClosed(jobId, terms.replica, closedAt);
        if (claim.resultHash == 0) revert EmptyResult(jobId, terms.replica);
        uint256 most = Pricing.chargeDown(terms.request, terms.offer, block.timestamp - replica.matchedAt);
        // Fits in 128 bits: never more than the deposit, which the match kept at or under `maxPrice`.
        if (claim.charge > most) revert ChargeTooHigh(jobId, terms.replica, claim.charge, uint128(most));

        replica.state = ReplicaState.Submitted;
        replica.submittedAt = uint40(block.timestamp);
        _replicas[jobId][terms.replica] = replica;
        _results[jobId][terms.replica] = OrderHash.ofClaim(claim);
        _vacate(terms);
        emit ResultSubmitted(jobId, terms.offer.operator, terms.replica, claim);
    }

    /// @inheritdoc IJobMarket
    function approve(Terms calldata terms, Claim calldata claim) external {
        (JobId jobId, Replica memory replica) = _load(terms);
        _requireState(jobId, terms.replica, replica.state, ReplicaState.Submitted);
        if (!_controls(terms.request.requester) && !_controls(terms.request.payer)) {
            revert NotRequester(jobId, msg.sender);
        }
        _settle(terms, jobId, claim);
    }

    /// @inheritdoc IJobMarket
    function finalize(Terms calldata terms, Claim calldata claim) external {
        (JobId jobId, Replica memory replica) = _load(terms);
        if (replica.state == ReplicaState.Active) {
            if (claim.resultHash != 0 || claim.resultBytes != 0 || claim.charge != 0) {
                revert WrongClaim(jobId, terms.replica);
            }
            _requirePassed(jobId, terms.replica, replica.matchedAt + terms.request.submitWindow);
            _timeOut(terms, jobId);
        } else {
            _requireState(jobId, terms.replica, replica.state, ReplicaState.Submitted);
            _requirePassed(jobId, terms.replica, replica.submittedAt + terms.request.challengeWindow);
            _settle(terms, jobId, claim);
        }
    }

    /// @inheritdoc IJobMarket
    function replicaOf(JobId jobId, uint16 replica) external view returns (Replica memory) {
        return _replicas[jobId][replica];
    }

    /// @inheritdoc IJobMarket
    function resultOf(JobId jobId, uint16 replica) external view returns (bytes32) {
        return _results[jobId][replica];
    }

    /// @inheritdoc IJobMarket
    function hashRequest(Request calldata request) public view returns (JobId) {
        return JobId.wrap(_hashTypedDataV4(OrderHash.ofRequest(request)));
    }

    /// @inheritdoc IJobMarket
    function hashOffer(Offer calldata offer) public view returns (bytes32) {
        return _hashTypedDataV4(OrderHash.ofOffer(offer));
    }

    /// @dev Is the request posted, or signed and never used?
    function _admit(Request calldata request, bytes calldata requesterSignature, bytes calldata payerSignature)
        private
        view
        returns (JobId jobId, bool posted)
    {
        jobId = hashRequest(request);
        ReplicaState state = _replicas[jobId][0].state;
        posted = state == ReplicaState.Posted;
        if (posted) return (jobId, true);
        _requireState(jobId, 0, state, ReplicaState.None);
        _requireAuthorized(request, jobId, requesterSignature, payerSignature);
    }

    /// @dev Turns a request into a job: takes the price from the payer, pays the tip.
    function _open(Request calldata request, JobId jobId, uint256 price, bool posted) private {
        _requireOpen(request, jobId);
        if (request.matcher != address(0) && msg.sender != request.matcher) {
            revert NotMatcher(jobId, msg.sender, request.matcher);
        }
        if (price > request.maxPrice) revert PriceAboveCap(jobId, price, request.maxPrice);

        // Fits in 128 bits: at most `maxPrice`, compared in the line above.
        uint128 spent = uint128(price);
        uint128 released = posted ? request.maxPrice - spent : 0;
        if (posted) _credit(request.payer, request.token, released);
        else _debit(request.payer, request.token, spent);
        _credit(msg.sender, request.token, request.matcherTip);
        emit JobMatched(jobId, request.requester, msg.sender, spent, released, request);
    }

    function _bindAll(
        Request calldata request,
        JobId jobId,
        bool posted,
        Offer[] calldata offers,
        bytes[] calldata offerSignatures,
        NodeLimits[] calldata limits
    ) private {
        _requireCounts(request, jobId, offers.length, offerSignatures.length, limits.length);
        _open(request, jobId, _price(request, offers), posted);
        for (uint16 i = 0; i < offers.length; ++i) {
            _requireNewOperator(jobId, offers, i);
            bytes32 offerHash = _requireSigned(request, offers[i], offerSignatures[i]);
            _bind(request, jobId, i, offers[i], offerHash, limits[i]);
        }
    }

    /// @dev Binds one replica to an offer whose signer was checked.
    function _bind(
        Request calldata request,
        JobId jobId,
        uint16 replica,
        Offer calldata offer,
        bytes32 offerHash,
        NodeLimits calldata limits
    ) private {
        Fit.requireServes(request, offer, offerHash);
        _occupy(request, offer, offerHash, limits);
        bytes21 commitment = OrderHash.commitment(jobId, replica, offerHash);
        _replicas[jobId][replica] = Replica(ReplicaState.Active, uint40(block.timestamp), 0, commitment);
        // Fits in 128 bits: part of a price that was compared with `maxPrice`.
        uint128 held = uint128(Pricing.depositUp(request, offer));
        emit ReplicaMatched(jobId, offer.operator, replica, offerHash, held, offer);
        if (request.bond > 0) staking.lock(offer.operator, IERC20(request.token), request.bond);
    }

    function _settle(Terms calldata terms, JobId jobId, Claim calldata claim) private {
        if (_results[jobId][terms.replica] != OrderHash.ofClaim(claim)) revert WrongClaim(jobId, terms.replica);
        _replicas[jobId][terms.replica].state = ReplicaState.Settled;
        uint128 refund = _deposit(terms) - claim.charge;
        _credit(terms.offer.operator, terms.request.token, claim.charge);
        _credit(terms.request.payer, terms.request.token, refund);
        emit ReplicaSettled(jobId, terms.offer.operator, terms.replica, claim.charge, refund);
        _unlockBond(terms);
    }

    function _timeOut(Terms calldata terms, JobId jobId) private {
        Request calldata request = terms.request;
        address operator = terms.offer.operator;
        _replicas[jobId][terms.replica].state = ReplicaState.Refunded;
        _vacate(terms);
        uint128 refund = _deposit(terms);
        _credit(request.payer, request.token, refund);
        uint128 paid = 0;
        if (request.bond > 0) {
            // Fits in 128 bits: never more than the bond.
            uint128 compensation = uint128(Pricing.compensationDown(request, refund));
            paid = staking.slash(operator, IERC20(request.token), request.bond, request.payer, compensation);
            _credit(request.payer, request.token, paid); // what reached this contract, known only now
        }
        emit ReplicaRefunded(jobId, operator, terms.replica, refund, request.bond, paid, RefundReason.TimedOut);
    }

    function _unlockBond(Terms calldata terms) private {
        uint128 bond = terms.request.bond;
        if (bond > 0) staking.unlock(terms.offer.operator, IERC20(terms.request.token), bond);
    }

    /// @dev Finds the replica that `terms` name. Its state decides nothing here, but its commitment must be theirs.
    function _load(Terms calldata terms) private view returns (JobId jobId, Replica memory replica) {
        jobId = hashRequest(terms.request);
        replica = _replicas[jobId][terms.replica];
        bytes21 commitment = OrderHash.commitment(jobId, terms.replica, hashOffer(terms.offer));
        if (replica.commitment != commitment) revert WrongTerms(jobId, terms.replica);
    }

    function _requireAuthorized(
        Request calldata request,
        JobId jobId,
        bytes calldata requesterSignature,
        bytes calldata payerSignature
    ) private view {
        Fit.requireSound(request, jobId);
        if (!_agreed(request.requester, jobId, requesterSignature)) {
            revert BadRequestSignature(jobId, request.requester);
        }
        if (request.payer != request.requester && !_agreed(request.payer, jobId, payerSignature)) {
            revert BadPayerSignature(jobId, request.payer);
        }
    }

    /// @dev Who controls the identity speaks for the account and its money, so a key that was rotated away does not.
    function _agreed(address account, JobId jobId, bytes calldata signature) private view returns (bool) {
        address controller = identity.controllerOf(account);
        return msg.sender == controller || _signed(controller, jobId, signature);
    }

    function _controls(address account) private view returns (bool) {
        return msg.sender == identity.controllerOf(account);
    }

    function _requireSigned(Request calldata request, Offer calldata offer, bytes calldata signature)
        private
        view
        returns (bytes32 offerHash)
    {
        offerHash = hashOffer(offer);
        address key = _requireKey(request, offer);
        if (!SignatureChecker.isValidSignatureNowCalldata(key, offerHash, signature)) {
            revert BadOfferSignature(offerHash, key);
        }
    }

    /// @dev The node's key, which must count until nothing can be asked of the node any more.
    function _requireKey(Request calldata request, Offer calldata offer) private view returns (address key) {
        if (identity.deactivated(offer.operator)) revert OperatorDeactivated(offer.operator);
        uint40 validTo;
        (key, validTo) = identity.keyOf(offer.operator, offer.index);
        uint40 needed =
            uint40(block.timestamp) + request.submitWindow + request.challengeWindow + request.arbiterWindow;
        if (validTo < needed) revert KeyExpiresTooSoon(offer.operator, offer.index, validTo, needed);
    }

    function _requireOpen(Request calldata request, JobId jobId) private view {
        if (block.timestamp > request.openUntil) revert RequestExpired(jobId, request.openUntil);
    }

    function _requirePassed(JobId jobId, uint16 replica, uint40 closesAt) private view {
        if (block.timestamp <= closesAt) revert WindowOpen(jobId, replica, closesAt);
    }

    function _signed(address account, JobId jobId, bytes calldata signature) private view returns (bool) {
        return SignatureChecker.isValidSignatureNowCalldata(account, JobId.unwrap(jobId), signature);
    }

    /// @dev Token units held for the replica. Fits in 128 bits: part of a price that was compared with `maxPrice`.
    function _deposit(Terms calldata terms) private pure returns (uint128) {
        return uint128(Pricing.depositUp(terms.request, terms.offer));
    }

    /// @dev Token units of all replicas and the tip.
    function _price(Request calldata request, Offer[] calldata offers) private pure returns (uint256 price) {
        price = request.matcherTip;
        for (uint256 i = 0; i < offers.length; ++i) {
            price += Pricing.depositUp(request, offers[i]);
        }
    }

    function _requireCounts(
        Request calldata request,
        JobId jobId,
        uint256 offers,
        uint256 signatures,
        uint256 limits
    ) private pure {
        if (offers != request.replicas || signatures != offers || limits != offers) {
            revert WrongOfferCount(jobId, offers, request.replicas);
        }
    }

    function _requireNewOperator(JobId jobId, Offer[] calldata offers, uint256 i) private pure {
        address operator = offers[i].operator;
        for (uint256 j = 0; j < i; ++j) {
            if (offers[j].operator == operator) revert OperatorTwice(jobId, operator);
        }
    }

    function _requireState(JobId jobId, uint16 replica, ReplicaState state, ReplicaState needed) private pure {
        if (state != needed) revert WrongState(jobId, replica, state, needed);
    }
}
