// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MarketChecks} from "./MarketChecks.sol";
import {TestKit} from "./TestKit.sol";

/// @notice Runs random sequences of actions and checks everything after each of them.
contract JobMarketInvariantTest is TestKit {
    MarketChecks private _world;

    function setUp() external {
        _world = new MarketChecks();
        _target(address(_world));
    }

    function invariant_theMarketHasWhatItOwes() external view {
        _world.checkMarketSolvent();
    }

    function invariant_stakingHasWhatItOwes() external view {
        _world.checkStakingSolvent();
    }

    function invariant_aReplicaEndsOnce() external view {
        _world.checkEndedOnce();
    }

    function invariant_nobodyLosesMoreThanAgreed() external view {
        _world.checkBoundedLoss();
    }

    function invariant_aRequestOpensOnce() external view {
        _world.checkOpenedOnce();
    }

    function invariant_aNodeIsNeverOversold() external view {
        _world.checkCapacity();
    }

    /// @dev The random sequences are worth something only if the actions in them can succeed.
    function test_everyActionCanSucceed() external {
        _world.post(1, 1);
        _world.cancel(0);
        _world.post(1, 2);
        _world.matchPosted(0, 2);
        _world.decline(0, 0);
        _world.matchSigned(1, 5, 3);
        _world.wait(7);
        _world.submit(0, 0, 9);
        _world.approve(0, 0);
        _world.matchSigned(2, 8, 4);
        _world.submit(0, 0, 1);
        _world.waitLong(0);
        _world.finalize(1, 0);
        _world.matchSigned(3, 11, 5);
        _world.waitLong(0);
        _world.finalize(0, 0);
        for (uint256 seed = 20; seed < 26; ++seed) {
            _world.post(1, seed);
            _world.accept(seed, seed, seed);
        }
        for (uint256 job = 0; job < 6; ++job) {
            _world.replay(job, 0);
        }
        string[11] memory actions = [
            "post",
            "cancel",
            "match posted",
            "match signed",
            "accept",
            "decline",
            "submit",
            "approve",
            "timeout",
            "finalize",
            "replay"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            _assertTrue(_world.done(actions[i]) > 0, actions[i]);
        }
        _checkAll();
        _world.leaveEverything();
        _checkAll();
    }

    /// @dev Last of each sequence: nothing is ever stuck.
    function afterInvariant() external {
        _world.leaveEverything();
        _checkAll();
    }

    function _checkAll() private view {
        _world.checkMarketSolvent();
        _world.checkStakingSolvent();
        _world.checkEndedOnce();
        _world.checkBoundedLoss();
        _world.checkOpenedOnce();
        _world.checkCapacity();
    }
}
