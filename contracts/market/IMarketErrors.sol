// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {JobId, Mode, ReplicaState} from "./Orders.sol";

/// @notice Why the market refused. Each error carries the values that explain it.
interface IMarketErrors {
    error DeskWithoutCode(address desk);
    error ZeroAmount();
    error StrayBits();
    error BalanceTooLow(address account, IERC20 token, uint256 balance, uint256 needed);
    error NotController(address account, address caller);
    error NotGuardian(address caller, address guardian);
    error NewJobsPaused();
    error WrongState(JobId jobId, uint16 replica, ReplicaState state, ReplicaState needed);
    error WrongMode(JobId jobId, Mode mode);
    error BadRequestSignature(JobId jobId, address requester);
    error BadPayerSignature(JobId jobId, address payer);
    error BadOfferSignature(bytes32 offerHash, address key);
    error RequestExpired(JobId jobId, uint40 openUntil);
    error RequestStillOpen(JobId jobId, uint40 openUntil);
    error BadRequest(JobId jobId, bytes32 field);
    error OfferExpired(bytes32 offerHash, uint40 expiresAt);
    error OfferMismatch(bytes32 offerHash, bytes32 field);
    error WrongEpoch(bytes32 offerHash, uint32 epoch, uint32 current);
    error WrongOfferCount(JobId jobId, uint256 offers, uint16 replicas);
    error OperatorTwice(JobId jobId, address operator);
    error OperatorNotAllowed(JobId jobId, address operator);
    error StakeBelowMinimum(address operator, IERC20 token, uint256 staked, uint128 needed);
    error KeyExpiresTooSoon(address operator, uint32 index, uint40 validTo, uint40 needed);
    error LimitExceeded(address operator, uint32 index, bytes32 field);
    error NotAccepted(address operator, address what);
    error CapacityExceeded(address operator, uint32 index, bytes32 field, uint256 available, uint256 needed);
    error PriceAboveCap(JobId jobId, uint256 price, uint128 maxPrice);
    error NotMatcher(JobId jobId, address caller, address matcher);
    error NotNode(address operator, uint32 index, address caller);
    error NotRequester(JobId jobId, address caller);
    error NotArbiter(JobId jobId, address caller, address arbiter);
    error NotParty(JobId jobId, address caller);
    error WrongTerms(JobId jobId, uint16 replica);
    error WrongClaim(JobId jobId, uint16 replica);
    error WindowClosed(JobId jobId, uint16 replica, uint40 closedAt);
    error WindowOpen(JobId jobId, uint16 replica, uint40 closesAt);
    error ChargeTooHigh(JobId jobId, uint16 replica, uint128 charge, uint256 most);
    error EmptyResult(JobId jobId, uint16 replica);
    error ResultRefused(JobId jobId, uint16 replica, address verifier);
    error AwardTooHigh(JobId jobId, uint16 replica, uint128 award, uint128 claimed);
    error LeaseOver(JobId jobId, uint16 replica);
    error LeaseTooLong(JobId jobId, uint16 replica, uint256 totalSeconds);
    error AlreadyClosing(JobId jobId, uint16 replica, uint40 closingAt);
    error BatchItemGas(uint256 item, uint256 available, uint256 needed);
}
