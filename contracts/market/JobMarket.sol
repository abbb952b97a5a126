// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {IIdentityRegistry} from "../identity/IIdentityRegistry.sol";
import {CappedCall} from "../libraries/CappedCall.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {IProviderStaking} from "../staking/IProviderStaking.sol";
import {ProviderStaking} from "../staking/ProviderStaking.sol";
import {IMarketFloor, Replica} from "./IMarketFloor.sol";
import {IVerifier, Verdict} from "./IVerifier.sol";
import {Fit} from "./libraries/Fit.sol";
import {JobWords} from "./libraries/JobWords.sol";
import {OrderHash} from "./libraries/OrderHash.sol";
import {OrderWords} from "./libraries/OrderWords.sol";
import {Pricing} from "./libraries/Pricing.sol";
import {MarketState} from "./MarketState.sol";
import {
    Assignment,
    Claim,
    Job,
    JobId,
    Mode,
    Offer,
    RefundReason,
    ReplicaState,
    Request,
    Terms
} from "./Orders.sol";

/// @title The job market; IJobMarket is its manual
/// @notice This half is the floor, what every job goes through. What is not here is done by the desk, code that is fixed for
/// good and works on this contract's storage: together they would be larger than a chain takes.
contract JobMarket is IMarketFloor, MarketState {
    /// @dev Enough for a verifier that looks at a dozen replicas or checks a handful of signatures.
    uint256 private constant VERIFIER_GAS = 300_000;
    /// @dev Bytes of the arguments that `finalize` has in common with the question to a verifier.
    uint256 private constant TERMS_AND_CLAIM = 35 * 32;

    /// @inheritdoc IMarketFloor
    IProviderStaking public immutable staking;

    address private immutable _DESK;

    /// @param desk a MarketDesk made for the same registry
    /// @param sink who gets what slashes leave after everyone else
    /// @param guardian who may stop new jobs; zero: nobody
    constructor(IIdentityRegistry identity_, address desk, address sink, address guardian) MarketState(identity_) {
        // Every call to a desk that is not there would succeed and do nothing.
        if (desk.code.length == 0) revert DeskWithoutCode(desk);
        // Made here, so that neither contract needs somebody who may set the other.
        staking = new ProviderStaking(identity_, address(this), sink);
        _DESK = desk;
        // Zero is a choice: nobody.
        // slither-disable-next-line missing-zero-check
        _guardian = guardian;
        emit GuardianChanged(guardian);
    }

    /// @dev The desk's functions, with this contract's storage and the caller as it is.
    // solhint-disable-next-line no-complex-fallback
    fallback() external {
        address desk = _DESK;
        // solhint-disable-next-line no-inline-assembly
        assembly {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), desk, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch done
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }

    /// @inheritdoc IMarketFloor
    function matchJob(
        Request calldata order,
        bytes calldata requesterSignature,
        bytes calldata payerSignature,
        Offer[] calldata quotes,
        bytes[] calldata offerSignatures,
        bytes32[][] calldata operatorProofs
    ) external returns (JobId jobId) {
        Request memory request = OrderWords.read(order);
        Offer[] memory offers = new Offer[](quotes.length);
        for (uint256 i = 0; i < offers.length; ++i) {
            offers[i] = OrderWords.read(quotes[i]);
        }
        bool posted;
        (jobId, posted) = _admit(request, requesterSignature, payerSignature);
        _requireOperators(request, jobId, offers, operatorProofs);
        _bindAll(request, jobId, posted, offers, offerSignatures);
    }

    /// @inheritdoc IMarketFloor
    function accept(Request calldata order, Offer calldata quote, bytes32[] calldata operatorProof)
        external
        returns (JobId jobId)
    {
        (Request memory request, Offer memory offer) = (OrderWords.read(order), OrderWords.read(quote));
        jobId = _hashRequest(request);
        _requireState(jobId, 0, _replicas[jobId][0].state, ReplicaState.Posted);
        if (request.replicas != 1) revert WrongOfferCount(jobId, 1, request.replicas);
        if (request.operators != 0) _requireAllowed(request, jobId, offer.operator, operatorProof);
        address key = _requireKey(request, offer);
        if (msg.sender != key) revert NotNode(offer.operator, offer.index, msg.sender);

        _take(request, jobId, offer);
    }

    /// @inheritdoc IMarketFloor
    function submit(Terms calldata agreed, Claim calldata claim, bytes calldata) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica) = _named(terms);
        bytes32 termsHash = _requireActive(terms, replica);
        _requireMode(terms, Mode.Batch);
        _requireNode(terms.assignment.operator, terms.assignment.index);
        _requireOpen(jobId, index, replica.matchedAt + terms.job.submitWindow);
        if (claim.resultHash == 0) revert EmptyResult(jobId, index);
        _requireCharge(terms, claim, block.timestamp - replica.matchedAt);
        bool judging = false;
        if (terms.job.verifier != address(0)) {
            // Both take the same arguments.
            Verdict verdict = _ask(terms.job.verifier, bytes.concat(IVerifier.judge.selector, msg.data[4:]));
            if (verdict == Verdict.Fails || verdict == Verdict.Void) {
                revert ResultRefused(jobId, index, terms.job.verifier);
            }
            judging = verdict == Verdict.Pending;
        }
        bool instant = !judging && terms.job.challengeWindow == 0;

        replica.state =
            instant ? ReplicaState.Settled : judging ? ReplicaState.Judging : ReplicaState.Submitted;
        replica.lastAt = uint40(block.timestamp);
        replica.commitment = OrderHash.commitment(OrderHash.ofClaimed(termsHash, claim));
        _replicas[jobId][index] = replica;
        _vacate(terms);
        emit ResultSubmitted(jobId, terms.assignment.operator, index, judging, claim);
        if (!instant) return;
        _pay(terms, _depositOf(terms), claim.charge);
        _unlockBond(terms);
    }

    /// @inheritdoc IMarketFloor
    function approve(Terms calldata agreed, Claim calldata claim) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica) = _named(terms);
        if (replica.state != ReplicaState.Judging) {
            _requireState(jobId, index, replica.state, ReplicaState.Submitted);
        }
        _requireClaim(terms, claim, replica);
        if (!_controls(terms.job.requester) && !_controls(terms.job.payer)) revert NotRequester(jobId, msg.sender);
        _settle(terms, claim, replica);
    }

    /// @inheritdoc IMarketFloor
    function finalize(Terms calldata agreed, Claim calldata claim) external {
        Terms memory terms = OrderWords.read(agreed);
        (JobId jobId, uint16 index, Replica memory replica) = _named(terms);
        Job memory job = terms.job;
        ReplicaState state = replica.state;
        if (state == ReplicaState.Active) return _timeOut(terms, claim);
        bool disputed = state == ReplicaState.Disputed;
        if (!disputed && state != ReplicaState.Judging) _requireState(jobId, index, state, ReplicaState.Submitted);
        _requireClaim(terms, claim, replica);
        uint32 window = disputed ? job.arbiterWindow : job.challengeWindow;
        _requirePassed(jobId, index, uint256(replica.lastAt) + window);

        if (state == ReplicaState.Judging) return _finishJudging(terms, claim, replica);
        // The arbiter was silent: the requester gets back what it advanced.
        if (disputed) _credit(job.requester, job.token, job.arbiterFee);
        _settle(terms, claim, replica);
    }

    /// @inheritdoc IMarketFloor
    function identity() external view returns (IIdentityRegistry) {
        return _IDENTITY;
    }

    /// @inheritdoc IMarketFloor
    function balanceOf(address account, IERC20 token) external view returns (uint256) {
        return _balances[account][address(token)];
    }

    /// @inheritdoc IMarketFloor
    function replicaOf(JobId jobId, uint16 replica) external view returns (Replica memory) {
        return _replicas[jobId][replica];
    }

    /// @inheritdoc IMarketFloor
    function hashRequest(Request calldata order) external view returns (JobId) {
        return _hashRequest(OrderWords.read(order));
    }

    /// @inheritdoc IMarketFloor
    function hashOffer(Offer calldata quote) external view returns (bytes32) {
        return _hashOffer(OrderWords.read(quote));
    }

    function _hashOffer(Offer memory offer) private view returns (bytes32) {
        return _hashTypedDataV4(OrderHash.ofOffer(offer));
    }

    function _staking() internal view override returns (IProviderStaking) {
        return staking;
    }

    /// @dev Is the request posted, or signed and never used?
    function _admit(Request memory request, bytes calldata requesterSignature, bytes calldata payerSignature)
        private
        view
        returns (JobId jobId, bool posted)
    {
        jobId = _hashRequest(request);
        ReplicaState state = _replicas[jobId][0].state;
        posted = state == ReplicaState.Posted;
        if (posted) return (jobId, true);
        _requireState(jobId, 0, state, ReplicaState.None);
        _requireAuthorized(request, jobId, requesterSignature, payerSignature);
    }

    function _bindAll(
        Request memory request,
        JobId jobId,
        bool posted,
        Offer[] memory offers,
        bytes[] calldata offerSignatures
    ) private {
        if (offerSignatures.length != offers.length) {
            revert WrongOfferCount(jobId, offerSignatures.length, request.replicas);
        }
        (uint256 price, uint256[] memory rates) = _price(request, offers);
        Job memory job = _open(request, jobId, price, posted);
        for (uint16 i = 0; i < offers.length; ++i) {
            Assignment memory assignment = _assigned(request, offers[i], offerSignatures[i], i, rates[i]);
            _bind(request, job, offers[i], assignment);
        }
    }

    /// @dev Turns a request into a job: takes the price from the payer, pays the tip.
    function _open(Request memory request, JobId jobId, uint256 price, bool posted)
        private
        returns (Job memory job)
    {
        _requireNew(request, jobId);
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
        job = JobWords.ofRequest(request, jobId);
        JobWords.emitMatched(job, spent, released, request.matcherTip);
    }

    /// @dev A posted request with one replica, taken by its node.
    function _take(Request memory request, JobId jobId, Offer memory offer) private {
        uint256 rate = Pricing.rateX18(request, offer);
        uint256 price = request.matcherTip + Pricing.depositUp(rate, offer.baseCharge, request.maxSeconds);
        Job memory job = _open(request, jobId, price, true);
        bytes32 offerHash = _hashOffer(offer);
        _bind(request, job, offer, Assignment(0, offer.operator, offer.index, offerHash, rate, offer.baseCharge));
    }

    /// @dev Binds one replica to an offer whose signer was checked.
    function _bind(
        Request memory request,
        Job memory job,
        Offer memory offer,
        Assignment memory assignment
    ) private {
        Fit.requireServes(request, offer, assignment.offerHash);
        _requireAccepted(offer.operator, request.token);
        _requireAccepted(offer.operator, request.verifier);
        _requireAccepted(offer.operator, request.arbiter);
        _occupy(request, offer, assignment.offerHash);

        bytes21 commitment = OrderHash.commitment(OrderHash.ofTerms(OrderHash.ofJob(job), assignment));
        Replica memory replica = Replica(ReplicaState.Active, uint40(block.timestamp), 0, commitment);
        _replicas[job.jobId][assignment.replica] = replica;
        emit ReplicaMatched(job.jobId, offer.operator, assignment);
        _lockBond(request, offer.operator);
    }

    /// @dev Takes capacity of the node behind `offer`, within the operator's limits.
    function _occupy(Request memory request, Offer memory offer, bytes32 offerHash) private {
        (address operator, uint32 index) = (offer.operator, offer.index);
        uint32 epoch = _uses[operator][index].epoch;
        if (offer.epoch != epoch) revert WrongEpoch(offerHash, offer.epoch, epoch);
        _uses[operator][index] = Fit.add(_uses[operator][index], _limits[operator][index], request, offer);
    }

    function _lockBond(Request memory request, address operator) private {
        IERC20 token = IERC20(request.token);
        uint128 least = request.minStake;
        if (request.bond == 0 && least == 0) return;
        uint256 staked = staking.lock(operator, token, request.bond);
        if (staked < least) revert StakeBelowMinimum(operator, token, staked, least);
    }

    function _settle(Terms memory terms, Claim calldata claim, Replica memory replica) private {
        replica.state = ReplicaState.Settled;
        _replicas[terms.job.jobId][terms.assignment.replica] = replica;
        _pay(terms, _depositOf(terms), claim.charge);
        _unlockBond(terms);
    }

    function _timeOut(Terms memory terms, Claim calldata claim) private {
        (JobId jobId, uint16 index, Replica memory replica) = _active(terms);
        _requireMode(terms, Mode.Batch);
        if (claim.resultHash != 0 || claim.resultBytes != 0 || claim.charge != 0) revert WrongClaim(jobId, index);
        _requirePassed(jobId, index, uint256(replica.matchedAt) + terms.job.submitWindow);

        replica.state = ReplicaState.Refunded;
        _replicas[jobId][index] = replica;
        _vacate(terms);
        uint256 deposited = _depositOf(terms);
        _refund(terms, deposited, terms.job.bond, RefundReason.TimedOut);
        _slashForSilence(terms, deposited);
    }

    /// @dev The challenge window is over: what the verifier says now counts.
    function _finishJudging(Terms memory terms, Claim calldata claim, Replica memory replica) private {
        (JobId jobId, uint16 index) = (terms.job.jobId, terms.assignment.replica);
        // The same arguments, followed by where the proof begins and its length, which is none.
        bytes calldata asked = msg.data[4:4 + TERMS_AND_CLAIM];
        bytes memory question = abi.encodePacked(IVerifier.judge.selector, asked, TERMS_AND_CLAIM + 32, uint256(0));
        Verdict verdict = _ask(terms.job.verifier, question);
        if (verdict == Verdict.Stands) return _settle(terms, claim, replica);
        if (verdict == Verdict.Pending) {
            uint256 waited = uint256(terms.job.challengeWindow) + terms.job.arbiterWindow;
            _requirePassed(jobId, index, replica.lastAt + waited);
        }
        replica.state = ReplicaState.Refunded;
        _replicas[jobId][index] = replica;
        if (verdict == Verdict.Fails) {
            _refund(terms, _depositOf(terms), terms.job.bond, RefundReason.Refused);
            // Nobody earns by it, or judges would be worth buying.
            if (terms.job.bond > 0) _slash(terms, terms.job.bond, address(0), 0, address(0), 0);
        } else {
            _refund(terms, _depositOf(terms), 0, RefundReason.Undecided);
            _unlockBond(terms);
        }
    }

    /// @dev No answer, or one that means nothing, counts as Pending: it opens the window and decides nothing.
    function _ask(address verifier, bytes memory question) private view returns (Verdict) {
        (bool answered, uint256 word) = CappedCall.ask(verifier, VERIFIER_GAS, question);
        return answered && word <= uint256(type(Verdict).max) ? Verdict(word) : Verdict.Pending;
    }

    /// @dev The node's key, which must count until nothing can be asked of the node any more.
    function _requireKey(Request memory request, Offer memory offer) private view returns (address key) {
        uint40 validTo;
        (key, validTo) = _IDENTITY.signerOf(offer.operator, offer.index);
        uint256 needed = request.mode == Mode.Lease
            ? uint256(request.maxSeconds) + 2 * uint256(request.heartbeatSeconds)
            : uint256(request.submitWindow) + request.challengeWindow + request.arbiterWindow;
        needed += block.timestamp;
        if (validTo < needed) revert KeyExpiresTooSoon(offer.operator, offer.index, validTo, uint40(needed));
    }

    function _requireAccepted(address operator, address what) private view {
        if (what != address(0) && !_accepted[operator][what]) revert NotAccepted(operator, what);
    }

    function _requireCharge(Terms memory terms, Claim calldata claim, uint256 elapsed) private pure {
        Assignment memory by = terms.assignment;
        uint256 chargeable = elapsed < terms.job.maxSeconds ? elapsed : terms.job.maxSeconds;
        uint256 most = Pricing.chargeDown(by.rateX18, by.baseCharge, chargeable);
        if (claim.charge > most) revert ChargeTooHigh(terms.job.jobId, by.replica, claim.charge, most);
    }

    /// @dev A leaf is the operator, hashed twice, as OpenZeppelin's trees do: no inner node can pass for one.
    function _requireAllowed(Request memory request, JobId jobId, address operator, bytes32[] calldata proof)
        private
        pure
    {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(operator))));
        if (!MerkleProof.verifyCalldata(proof, request.operators, leaf)) revert OperatorNotAllowed(jobId, operator);
    }

    /// @dev The assignment to the node behind `offer`, whose key signed it.
    function _assigned(
        Request memory request,
        Offer memory offer,
        bytes calldata signature,
        uint16 replica,
        uint256 rate
    ) private view returns (Assignment memory) {
        bytes32 offerHash = _hashOffer(offer);
        address key = _requireKey(request, offer);
        if (!Signatures.signed(key, offerHash, signature)) revert BadOfferSignature(offerHash, key);
        return Assignment(replica, offer.operator, offer.index, offerHash, rate, offer.baseCharge);
    }

    /// @dev Token units of all replicas and the tip, and the rate of each replica.
    function _price(Request memory request, Offer[] memory offers)
        private
        pure
        returns (uint256 price, uint256[] memory rates)
    {
        price = request.matcherTip;
        rates = new uint256[](offers.length);
        for (uint256 i = 0; i < offers.length; ++i) {
            rates[i] = Pricing.rateX18(request, offers[i]);
            price += Pricing.depositUp(rates[i], offers[i].baseCharge, request.maxSeconds);
        }
    }

    /// @dev As many as the request wants, each another one, and each on the request's list where it has one.
    function _requireOperators(
        Request memory request,
        JobId jobId,
        Offer[] memory offers,
        bytes32[][] calldata operatorProofs
    ) private pure {
        bool listed = request.operators != 0;
        uint256 count = offers.length;
        if (count != request.replicas || (listed && operatorProofs.length != count)) {
            revert WrongOfferCount(jobId, count, request.replicas);
        }
        for (uint256 i = 0; i < count; ++i) {
            address operator = offers[i].operator;
            for (uint256 j = 0; j < i; ++j) {
                if (offers[j].operator == operator) revert OperatorTwice(jobId, operator);
            }
            if (listed) _requireAllowed(request, jobId, operator, operatorProofs[i]);
        }
    }
}
