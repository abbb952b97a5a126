// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Replica} from "../../../contracts/market/IMarketFloor.sol";
import {Claim, Mode, ReplicaState, Request, Terms} from "../../../contracts/market/Orders.sol";
import {LeaseHandler} from "./LeaseHandler.sol";

/// @notice Does at random what people do, and remembers what must hold. An action that cannot be done now is skipped;
/// one that the rules allow must not revert; one that they forbid is tried as well and must. This file: batch jobs after
/// their match.
contract MarketHandler is LeaseHandler {
    function decline(uint256 pick, uint256 replica) external {
        (uint256 job, uint16 r, bool found) = _any(pick, replica, ReplicaState.Active, Mode(pick % 2));
        if (!found) return;
        Replica memory seen = _replica(job, r);
        if (seen.lastAt != 0 || block.timestamp > seen.matchedAt + _orders[job].request.acceptWindow) return;
        uint16 sibling = _orders[job].request.replicas - 1 - r;
        _decline(job, r, pick % 3 == 0 ? sibling : r);
    }

    function submit(uint256 pick, uint256 replica, uint256 charge) external {
        (uint256 job, uint16 r, bool found) = _any(pick, replica, ReplicaState.Active, Mode.Batch);
        if (!found) return;
        Request memory request = _orders[job].request;
        uint256 elapsed = block.timestamp - _replica(job, r).matchedAt;
        if (elapsed > request.submitWindow) return;
        uint256 most = _runs[job][r].offer.baseCharge + _rate(job, r) * Math.min(elapsed, request.maxSeconds) / 1e18;
        Claim memory claim = Claim(keccak256(abi.encode(job, r)), 1, uint128(_bound(charge, 0, most)));
        // Pending, stands, reverts, burns its gas, or means nothing.
        uint256[5] memory answers = [uint256(0), 1, 4, 5, 6];
        _judge.setAnswer(answers[pick % 5]);
        _runs[job][r].claim = claim;
        bool old = charge % 2 == 0;
        _submit(job, r, old ? _runs[job][r].offer.operator : VM.addr(_keys[_operatorAt(job, r)]));
    }

    function approve(uint256 pick, uint256 replica) external {
        ReplicaState state = pick % 2 == 0 ? ReplicaState.Submitted : ReplicaState.Judging;
        (uint256 job, uint16 r, bool found) = _any(pick / 2, replica, state, Mode.Batch);
        if (found) _approve(job, r);
    }

    function dispute(uint256 pick, uint256 replica) external {
        ReplicaState state = pick % 2 == 0 ? ReplicaState.Submitted : ReplicaState.Judging;
        (uint256 job, uint16 r, bool found) = _any(pick / 2, replica, state, Mode.Batch);
        if (!found) return;
        Request memory request = _orders[job].request;
        bool late = block.timestamp > uint256(_replica(job, r).lastAt) + request.challengeWindow;
        bool poor = _market.balanceOf(request.requester, _token) < request.arbiterFee;
        if (request.arbiter == address(0) || late || poor) return;
        VM.startPrank(request.requester);
        _market.dispute(_terms(job, r), _runs[job][r].claim);
        VM.stopPrank();
        ++done["dispute"];
    }

    function rule(uint256 pick, uint256 replica, uint256 award) external {
        (uint256 job, uint16 r, bool found) = _any(pick, replica, ReplicaState.Disputed, Mode.Batch);
        if (!found || block.timestamp > _deadline(job, r)) return;
        uint256 claimed = _runs[job][r].claim.charge;
        // All, nothing, and anything between.
        _rule(job, r, uint128(award % 3 == 0 ? claimed : award % 3 == 1 ? 0 : _bound(award, 0, claimed)));
    }

    function finalize(uint256 pick, uint256 replica, uint256 answer) external {
        ReplicaState[4] memory states =
            [ReplicaState.Active, ReplicaState.Submitted, ReplicaState.Judging, ReplicaState.Disputed];
        (uint256 job, uint16 r, bool found) = _any(pick / 4, replica, states[pick % 4], Mode.Batch);
        if (!found || block.timestamp <= _deadline(job, r)) return;
        _judge.setAnswer(answer % 7);
        _finalize(job, r);
    }

    /// @notice Several whose time is up, in one transaction, beside one that fails.
    function finalizeMany(uint256 pick) external {
        bytes[] memory items = new bytes[](2);
        (uint256 job, uint16 r, bool found) = _any(pick, 0, ReplicaState.Submitted, Mode.Batch);
        if (!found || block.timestamp <= _deadline(job, r)) return;
        items[0] = abi.encode(_terms(job, r), Claim(0, 0, 0));
        items[1] = abi.encode(_terms(job, r), _runs[job][r].claim);
        _finalizeMany(job, r, items);
    }

    /// @notice Repeats on an ended replica everything that once could be done with it.
    function replay(uint256 pick, uint256 replica) external {
        (uint256 job, bool found) = _anyJob(pick);
        if (!found) return;
        Request memory request = _orders[job].request;
        uint16 r = uint16(replica % request.replicas);
        if (_runs[job][r].ended == 0) return;
        Terms memory terms = _terms(job, r);
        Claim memory claim = _runs[job][r].claim;
        VM.startPrank(_runs[job][r].offer.operator);
        try _market.decline(terms, r) { ++forbidden; } catch {}
        try _market.submit(terms, claim, "") { ++forbidden; } catch {}
        try _market.claim(terms) { ++forbidden; } catch {}
        VM.stopPrank();
        VM.startPrank(request.requester);
        try _market.approve(terms, claim) { ++forbidden; } catch {}
        try _market.dispute(terms, claim) { ++forbidden; } catch {}
        try _market.finalize(terms, claim) { ++forbidden; } catch {}
        try _market.finalize(terms, Claim(0, 0, 0)) { ++forbidden; } catch {}
        try _market.topUp(terms, 60) { ++forbidden; } catch {}
        try _market.close(terms) { ++forbidden; } catch {}
        try _market.cancel(request) { ++forbidden; } catch {}
        try _market.post(request, "", "") { ++forbidden; } catch {}
        VM.stopPrank();
        VM.startPrank(_arbiter);
        try _market.rule(terms, claim, 0) { ++forbidden; } catch {}
        VM.stopPrank();
        ++done["replay"];
    }

    function _decline(uint256 job, uint16 r, uint16 sibling)
        private
        acting(job, r, _runs[job][r].offer.operator, "decline")
    {
        _market.decline(_terms(job, r), sibling);
    }

    function _submit(uint256 job, uint16 r, address who) private acting(job, r, who, "submit") {
        _market.submit(_terms(job, r), _runs[job][r].claim, "");
    }

    function _approve(uint256 job, uint16 r) private acting(job, r, _orders[job].request.requester, "approve") {
        _market.approve(_terms(job, r), _runs[job][r].claim);
    }

    function _rule(uint256 job, uint16 r, uint128 award) private acting(job, r, _arbiter, "rule") {
        _market.rule(_terms(job, r), _runs[job][r].claim, award);
    }

    /// @dev Ends a replica whose time is up, as a stranger. Must succeed.
    function _finalize(uint256 job, uint16 r)
        internal
        acting(job, r, _stranger, _stateOf(job, r) == ReplicaState.Active ? "timeout" : "finalize")
    {
        bool silent = _stateOf(job, r) == ReplicaState.Active;
        _market.finalize(_terms(job, r), silent ? Claim(0, 0, 0) : _runs[job][r].claim);
    }

    function _finalizeMany(uint256 job, uint16 r, bytes[] memory items)
        private
        acting(job, r, _stranger, "finalize many")
    {
        bool[] memory ok = _market.finalizeMany(items, 1_000_000);
        if (ok[0]) ++forbidden;
        _assertTrue(ok[1], "one of many whose time is up");
    }

    function _operatorAt(uint256 job, uint16 r) private view returns (uint256 i) {
        while (_operators[i] != _runs[job][r].offer.operator) ++i;
    }
}
