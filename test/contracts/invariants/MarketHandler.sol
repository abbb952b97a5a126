// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Replica} from "../../../contracts/market/IJobMarket.sol";
import {Claim, JobId, NodeLimits, Offer, ReplicaState, Request, Terms} from "../../../contracts/market/Orders.sol";
import {Stake} from "../../../contracts/staking/IProviderStaking.sol";
import {MarketWorld} from "./MarketWorld.sol";

/// @notice Does at random what people do, and remembers what must hold. An action that cannot be done now is skipped;
/// one that the rules allow must not revert; one that they forbid is tried as well and must.
contract MarketHandler is MarketWorld {
    /// @dev What the handler knows of one request.
    struct Job {
        Request request;
        uint256 opened; // times that it became a job
        int256 spent; // token units that left the payer's balance, less what came back
    }

    /// @dev What the handler knows of one replica.
    struct Run {
        Offer offer;
        Claim claim;
        uint256 ended; // times that it entered a terminal state
        uint256 lost; // token units of stake that its operator lost
    }

    Job[] internal _jobs;
    mapping(uint256 job => mapping(uint16 replica => Run)) internal _runs;
    uint256 public donated; // token units given to the market without a deposit
    uint256 public forbidden; // times that something forbidden succeeded
    mapping(string action => uint256) public done;

    function deposit(uint256 who, uint256 amount) external {
        _addMoney(_anyPayer(who), _bound(amount, 1, 1e9));
    }

    function withdraw(uint256 who, uint256 amount) external {
        address account = _anyPayer(who);
        uint256 balance = _market.balanceOf(account, _token);
        if (balance == 0) return;
        VM.startPrank(account);
        _market.withdraw(account, _token, _bound(amount, 1, balance), account);
        VM.stopPrank();
    }

    function donate(uint256 amount) external {
        amount = _bound(amount, 1, 1000);
        donated += amount;
        _token.mint(address(_market), amount);
    }

    function stake(uint256 operator, uint256 amount) external {
        _addStake(_operators[operator % OPERATORS], uint128(_bound(amount, 1, 100_000)));
    }

    function requestExit(uint256 operator, uint256 amount) external {
        address who = _operators[operator % OPERATORS];
        uint128 free = _staking.stakeOf(who, _token).free;
        if (free == 0) return;
        VM.startPrank(who);
        _staking.requestExit(who, _token, uint128(_bound(amount, 1, free)));
        VM.stopPrank();
    }

    function exit(uint256 operator) external {
        address who = _operators[operator % OPERATORS];
        uint256 readyAt = _staking.exitOf(who, _token).readyAt;
        if (readyAt == 0 || block.timestamp < readyAt) return;
        VM.startPrank(who);
        _staking.exit(who, _token, who);
        VM.stopPrank();
    }

    function withdrawSink() external {
        if (_staking.sinkBalance(_token) > 0) _staking.withdrawSink(_token);
    }

    function bumpEpoch(uint256 operator) external {
        address who = _operators[operator % OPERATORS];
        VM.startPrank(who);
        _market.bumpEpoch(who, 0);
        VM.stopPrank();
    }

    function wait(uint256 time) external {
        VM.warp(block.timestamp + _bound(time, 1, 1500));
    }

    function waitLong(uint256 time) external {
        if (time % 8 == 0) VM.warp(block.timestamp + 8 days);
    }

    function post(uint256 who, uint256 seed) external {
        Request memory request = _newRequest(who, seed);
        if (_market.balanceOf(request.payer, _token) < request.maxPrice) return;
        uint256 job = _jobs.length;
        _jobs.push(Job(request, 0, 0));
        uint256 before = _payerBalance(job);
        VM.startPrank(request.requester);
        _market.post(request, "", _payerSignature(request));
        VM.stopPrank();
        _count(job, before, "post");
    }

    function cancel(uint256 pick) external {
        (uint256 job,, bool found) = _anyReplica(pick, 0, ReplicaState.Posted);
        if (!found) return;
        Request memory request = _jobs[job].request;
        bool expired = block.timestamp > request.openUntil;
        uint256 before = _payerBalance(job);
        VM.startPrank(expired ? _stranger : request.requester);
        _market.cancel(request);
        VM.stopPrank();
        _count(job, before, "cancel");
    }

    function matchSigned(uint256 who, uint256 seed, uint256 prices) external {
        Request memory request = _newRequest(who, seed);
        _jobs.push(Job(request, 0, 0));
        _match(_jobs.length - 1, prices);
    }

    function matchPosted(uint256 pick, uint256 prices) external {
        (uint256 job,, bool found) = _anyReplica(pick, 0, ReplicaState.Posted);
        if (found) _match(job, prices);
    }

    /// @notice Tries to open any request again: cancelled, expired, running or ended.
    function matchAgain(uint256 pick, uint256 prices) external {
        (uint256 job, bool found) = _anyJob(pick);
        if (found) _match(job, prices);
    }

    function accept(uint256 pick, uint256 operator, uint256 prices) external {
        (uint256 job,, bool found) = _anyReplica(pick, 0, ReplicaState.Posted);
        if (!found) return;
        operator %= OPERATORS;
        Offer memory offer = _offer(operator, prices);
        uint256 before = _payerBalance(job);
        Request memory request = _jobs[job].request;
        NodeLimits memory limits = _limits();
        VM.startPrank(VM.addr(_keys[operator]));
        try _market.accept(request, offer, limits) {
            VM.stopPrank();
            _runs[job][0].offer = offer;
            _opened(job, block.timestamp <= request.openUntil);
            _count(job, before, "accept");
        } catch {
            VM.stopPrank();
        }
    }

    function decline(uint256 pick, uint256 replica) external {
        (uint256 job, uint16 r, bool found) = _anyReplica(pick, replica, ReplicaState.Active);
        if (!found) return;
        Replica memory seen = _market.replicaOf(_id(job), r);
        if (block.timestamp > seen.matchedAt + _jobs[job].request.acceptWindow) return;
        uint256 before = _payerBalance(job);
        VM.startPrank(_runs[job][r].offer.operator);
        _market.decline(_terms(job, r));
        VM.stopPrank();
        _ended(job, r);
        _count(job, before, "decline");
    }

    function submit(uint256 pick, uint256 replica, uint256 charge) external {
        (uint256 job, uint16 r, bool found) = _anyReplica(pick, replica, ReplicaState.Active);
        if (!found) return;
        Request memory request = _jobs[job].request;
        Offer memory offer = _runs[job][r].offer;
        uint256 elapsed = block.timestamp - _market.replicaOf(_id(job), r).matchedAt;
        if (elapsed > request.submitWindow) return;
        uint256 rate = uint256(request.cpuMilli) * offer.cpuRateX18 + uint256(request.memoryMiB) * offer.memoryRateX18;
        uint256 most = offer.baseCharge + rate * Math.min(elapsed, request.maxSeconds) / 1e18;
        Claim memory claim = Claim(keccak256(abi.encode(job, r)), 1, uint128(_bound(charge, 0, most)));
        _runs[job][r].claim = claim;
        Terms memory terms = _terms(job, r);
        VM.startPrank(offer.operator);
        _market.submit(terms, claim);
        VM.stopPrank();
        ++done["submit"];
    }

    function approve(uint256 pick, uint256 replica) external {
        (uint256 job, uint16 r, bool found) = _anyReplica(pick, replica, ReplicaState.Submitted);
        if (!found) return;
        uint256 before = _payerBalance(job);
        VM.startPrank(_jobs[job].request.requester);
        _market.approve(_terms(job, r), _runs[job][r].claim);
        VM.stopPrank();
        _ended(job, r);
        _count(job, before, "approve");
    }

    function finalize(uint256 pick, uint256 replica) external {
        ReplicaState state = pick % 2 == 0 ? ReplicaState.Active : ReplicaState.Submitted;
        (uint256 job, uint16 r, bool found) = _anyReplica(pick / 2, replica, state);
        if (!found || block.timestamp <= _deadline(job, r)) return;
        _finalize(job, r);
    }

    /// @notice Repeats on an ended replica everything that once could be done with it.
    function replay(uint256 pick, uint256 replica) external {
        (uint256 job, bool found) = _anyJob(pick);
        if (!found) return;
        uint16 r = uint16(replica % _jobs[job].request.replicas);
        if (_runs[job][r].ended == 0) return;
        Terms memory terms = _terms(job, r);
        Claim memory claim = _runs[job][r].claim;
        VM.startPrank(_runs[job][r].offer.operator);
        try _market.decline(terms) { ++forbidden; } catch {}
        try _market.submit(terms, claim) { ++forbidden; } catch {}
        VM.stopPrank();
        VM.startPrank(terms.request.requester);
        try _market.approve(terms, claim) { ++forbidden; } catch {}
        try _market.finalize(terms, claim) { ++forbidden; } catch {}
        try _market.finalize(terms, Claim(0, 0, 0)) { ++forbidden; } catch {}
        try _market.cancel(terms.request) { ++forbidden; } catch {}
        try _market.post(terms.request, "", "") { ++forbidden; } catch {}
        VM.stopPrank();
        ++done["replay"];
    }

    /// @dev Ends a replica whose time is up, as a stranger. Must succeed.
    function _finalize(uint256 job, uint16 r) internal {
        address operator = _runs[job][r].offer.operator;
        bool silent = _stateOf(job, r) == ReplicaState.Active;
        Claim memory claim = silent ? Claim(0, 0, 0) : _runs[job][r].claim;
        (uint256 before, uint256 stakeBefore) = (_payerBalance(job), _stakeSum(operator));
        VM.startPrank(_stranger);
        _market.finalize(_terms(job, r), claim);
        VM.stopPrank();
        _runs[job][r].lost += stakeBefore - _stakeSum(operator);
        _ended(job, r);
        _count(job, before, silent ? "timeout" : "finalize");
    }

    function _match(uint256 job, uint256 prices) private {
        Request memory request = _jobs[job].request;
        ReplicaState state = _stateOf(job, 0);
        bool may = (state == ReplicaState.None || state == ReplicaState.Posted) && block.timestamp <= request.openUntil;
        Offer[] memory offers = new Offer[](request.replicas);
        bytes[] memory signatures = new bytes[](request.replicas);
        NodeLimits[] memory limits = new NodeLimits[](request.replicas);
        for (uint256 i = 0; i < request.replicas; ++i) {
            uint256 operator = (prices % OPERATORS + i) % OPERATORS;
            offers[i] = _offer(operator, prices >> (8 * i + 8));
            signatures[i] = _sign(_keys[operator], _market.hashOffer(offers[i]));
            limits[i] = _limits();
        }
        uint256 before = _payerBalance(job);
        if (_tryMatch(request, offers, signatures, limits)) {
            for (uint16 i = 0; i < offers.length; ++i) {
                _runs[job][i].offer = offers[i];
            }
            _opened(job, may);
            _count(job, before, state == ReplicaState.Posted ? "match posted" : "match signed");
        }
    }

    /// @dev The requester calls, which stands for its signature.
    function _tryMatch(
        Request memory request,
        Offer[] memory offers,
        bytes[] memory signatures,
        NodeLimits[] memory limits
    ) private returns (bool matched) {
        bytes memory payerSignature = _payerSignature(request);
        VM.startPrank(request.requester);
        try _market.matchJob(request, "", payerSignature, offers, signatures, limits) {
            matched = true;
        } catch {}
        VM.stopPrank();
    }

    function _opened(uint256 job, bool may) private {
        ++_jobs[job].opened;
        if (!may) ++forbidden;
    }

    function _ended(uint256 job, uint16 r) private {
        ++_runs[job][r].ended;
    }

    /// @dev Books what the action cost the payer. A requester who matches for itself gets the tip back: not counted.
    function _count(uint256 job, uint256 before, string memory action) private {
        _jobs[job].spent += int256(before) - int256(_payerBalance(job));
        ++done[action];
    }

    function _newRequest(uint256 who, uint256 seed) private view returns (Request memory) {
        address requester = _requesters[who % 2];
        address payer = who % 3 == 0 ? _payer : requester;
        return _request(requester, payer, seed, _jobs.length);
    }

    function _payerSignature(Request memory request) private view returns (bytes memory) {
        return request.payer == _payer ? _sign(0xa3, JobId.unwrap(_market.hashRequest(request))) : bytes("");
    }

    function _payerBalance(uint256 job) private view returns (uint256) {
        return _market.balanceOf(_jobs[job].request.payer, _token);
    }

    function _stakeSum(address operator) private view returns (uint256) {
        Stake memory s = _staking.stakeOf(operator, _token);
        return uint256(s.free) + s.locked;
    }

    function _anyPayer(uint256 who) private view returns (address) {
        return who % 3 == 2 ? _payer : _requesters[who % 3];
    }

    function _anyJob(uint256 pick) private view returns (uint256 job, bool found) {
        return _jobs.length == 0 ? (0, false) : (pick % _jobs.length, true);
    }

    /// @dev The first replica in `state` from a random job on.
    function _anyReplica(uint256 pick, uint256 replica, ReplicaState state)
        private
        view
        returns (uint256 job, uint16 r, bool found)
    {
        for (uint256 i = 0; i < _jobs.length; ++i) {
            job = (pick % _jobs.length + i) % _jobs.length;
            for (uint16 j = 0; j < _jobs[job].request.replicas; ++j) {
                r = uint16((replica % 2 + j) % _jobs[job].request.replicas);
                if (_stateOf(job, r) == state) return (job, r, true);
            }
        }
    }

    /// @dev The last second before anybody may end the replica.
    function _deadline(uint256 job, uint16 r) internal view returns (uint256) {
        Replica memory seen = _market.replicaOf(_id(job), r);
        Request storage request = _jobs[job].request;
        if (seen.state == ReplicaState.Active) return uint256(seen.matchedAt) + request.submitWindow;
        return uint256(seen.submittedAt) + request.challengeWindow;
    }

    function _terms(uint256 job, uint16 r) internal view returns (Terms memory) {
        return Terms(_jobs[job].request, _runs[job][r].offer, r);
    }

    function _id(uint256 job) internal view returns (JobId) {
        return _market.hashRequest(_jobs[job].request);
    }

    function _stateOf(uint256 job, uint16 r) internal view returns (ReplicaState) {
        return _market.replicaOf(_id(job), r).state;
    }
}
