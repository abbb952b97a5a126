// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {JobId, Offer, ReplicaState, Request} from "../../../contracts/market/Orders.sol";
import {PeopleHandler} from "./PeopleHandler.sol";

/// @notice How jobs begin.
abstract contract MatchHandler is PeopleHandler {
    function post(uint256 who, uint256 seed) external {
        Request memory request = _newRequest(who, seed);
        if (_market.balanceOf(request.payer, _token) < request.maxPrice) return;
        uint256 job = _orders.length;
        _orders.push(Order(request, 0, 0));
        uint256 before = _payerBalance(job);
        VM.startPrank(request.requester);
        _market.post(request, "", _payerSignature(request));
        VM.stopPrank();
        _count(job, before, "post");
    }

    function cancel(uint256 pick) external {
        (uint256 job, bool found) = _anyPosted(pick);
        if (!found) return;
        Request memory request = _orders[job].request;
        bool expired = block.timestamp > request.openUntil;
        uint256 before = _payerBalance(job);
        VM.startPrank(expired ? _stranger : request.requester);
        _market.cancel(request);
        VM.stopPrank();
        _count(job, before, "cancel");
    }

    function matchSigned(uint256 who, uint256 seed, uint256 prices) external {
        _orders.push(Order(_newRequest(who, seed), 0, 0));
        _match(_orders.length - 1, prices, false);
    }

    function matchPosted(uint256 pick, uint256 prices) external {
        (uint256 job, bool found) = _anyPosted(pick);
        if (found) _match(job, prices, false);
    }

    /// @notice Tries to open any request again: cancelled, expired, running or ended.
    function matchAgain(uint256 pick, uint256 prices) external {
        (uint256 job, bool found) = _anyJob(pick);
        if (found) _match(job, prices, false);
    }

    /// @notice The same as one item of many, beside one that fails.
    function matchMany(uint256 who, uint256 seed, uint256 prices) external {
        _orders.push(Order(_newRequest(who, seed), 0, 0));
        _match(_orders.length - 1, prices, true);
    }

    /// @notice No job begins while the guardian has stopped new ones.
    function matchWhilePaused(uint256 pick, uint256 prices) external {
        (uint256 job, bool found) = _anyJob(pick);
        if (!found) return;
        _pause(true);
        uint256 opened = _orders[job].opened;
        _match(job, prices, false);
        if (_orders[job].opened != opened) ++forbidden;
        _pause(false);
        ++done["pause"];
    }

    function accept(uint256 pick, uint256 operator, uint256 prices) external {
        (uint256 job, bool found) = _anyPosted(pick);
        if (!found) return;
        operator %= OPERATORS;
        Request memory request = _orders[job].request;
        Offer memory offer = _offer(request, operator, prices);
        uint256 before = _payerBalance(job);
        VM.startPrank(VM.addr(_keys[operator]));
        try _market.accept(request, offer, new bytes32[](0)) {
            VM.stopPrank();
            _runs[job][0].offer = offer;
            _opened(job, block.timestamp <= request.openUntil);
            _count(job, before, "accept");
        } catch {
            VM.stopPrank();
        }
    }

    function _match(uint256 job, uint256 prices, bool amongMany) private {
        Request memory request = _orders[job].request;
        ReplicaState state = _stateOf(job, 0);
        bool may = (state == ReplicaState.None || state == ReplicaState.Posted) && block.timestamp <= request.openUntil;
        Offer[] memory offers = new Offer[](request.replicas);
        bytes[] memory signatures = new bytes[](request.replicas);
        for (uint256 i = 0; i < request.replicas; ++i) {
            uint256 operator = (prices % OPERATORS + i) % OPERATORS;
            offers[i] = _offer(request, operator, prices >> (8 * i + 8));
            signatures[i] = _sign(_keys[operator], _market.hashOffer(offers[i]));
        }
        uint256 before = _payerBalance(job);
        bool matched = amongMany ? _tryMany(request, offers, signatures) : _tryMatch(request, offers, signatures);
        if (!matched) return;
        for (uint16 i = 0; i < offers.length; ++i) {
            _runs[job][i].offer = offers[i];
        }
        _opened(job, may);
        _count(job, before, amongMany ? "match many" : state == ReplicaState.Posted ? "match posted" : "match signed");
    }

    /// @dev The requester calls, which stands for its signature.
    function _tryMatch(Request memory request, Offer[] memory offers, bytes[] memory signatures)
        private
        returns (bool matched)
    {
        bytes memory payerSignature = _payerSignature(request);
        VM.startPrank(request.requester);
        try _market.matchJob(request, "", payerSignature, offers, signatures, new bytes32[][](0)) {
            matched = true;
        } catch {}
        VM.stopPrank();
    }

    function _tryMany(Request memory request, Offer[] memory offers, bytes[] memory signatures)
        private
        returns (bool matched)
    {
        bytes[] memory items = new bytes[](2);
        items[0] = abi.encode(request, "", "", new Offer[](0), new bytes[](0), new bytes32[][](0));
        items[1] =
            abi.encode(request, "", _payerSignature(request), offers, signatures, new bytes32[][](0));
        VM.startPrank(request.requester);
        bool[] memory ok = _market.matchMany(items, 1_500_000);
        VM.stopPrank();
        if (ok[0]) ++forbidden;
        return ok[1];
    }

    function _opened(uint256 job, bool may) private {
        ++_orders[job].opened;
        if (!may) ++forbidden;
    }

    function _pause(bool paused) private {
        VM.startPrank(_guardian);
        _market.setPaused(paused);
        VM.stopPrank();
    }

    function _newRequest(uint256 who, uint256 seed) private view returns (Request memory) {
        address requester = _requesters[who % 2];
        address payer = who % 3 == 0 ? _payer : requester;
        return _request(requester, payer, seed, _orders.length);
    }

    function _payerSignature(Request memory request) private view returns (bytes memory) {
        return request.payer == _payer ? _sign(0xa3, JobId.unwrap(_market.hashRequest(request))) : bytes("");
    }
}
