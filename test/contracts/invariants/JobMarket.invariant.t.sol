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

    /// @dev One function, so that each random sequence serves all checks; an assertion names the one that failed.
    function invariant_everythingHolds() external view {
        _checkAll();
    }

    /// @dev The random sequences are worth something only if the actions in them can succeed.
    function test_everyActionCanSucceed() external {
        for (uint256 i = 0; i < 160; ++i) {
            _someActions(uint256(keccak256(abi.encode(i))));
        }
        string[21] memory actions = [
            "post",
            "cancel",
            "match posted",
            "match signed",
            "match many",
            "pause",
            "accept",
            "decline",
            "submit",
            "approve",
            "dispute",
            "rule",
            "timeout",
            "finalize",
            "finalize many",
            "claim",
            "top up",
            "close",
            "collect",
            "rotate",
            "replay"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            _assertTrue(_world.done(actions[i]) > 0, actions[i]);
        }
        _checkAll();
        _world.leaveEverything();
        _checkAll();
    }

    function _someActions(uint256 seed) private {
        _world.post(seed, seed >> 8);
        _world.matchPosted(seed >> 16, seed >> 24);
        _world.matchSigned(seed >> 32, seed >> 40, seed >> 48);
        if (seed % 3 == 0) _world.matchMany(seed >> 56, seed >> 64, seed >> 72);
        _world.matchWhilePaused(seed >> 80, seed >> 88);
        _world.accept(seed >> 96, seed >> 104, seed >> 112);
        if (seed % 5 == 0) _world.decline(seed >> 120, seed >> 128);
        _world.topUp(seed >> 136, 0, seed >> 144);
        _world.wait(seed >> 152);
        _world.claim(seed >> 160, 0);
        _world.submit(seed >> 168, 0, seed >> 176);
        _world.dispute(seed >> 184, 0);
        _world.rule(seed >> 192, 0, seed >> 200);
        if (seed % 2 == 0) _world.approve(seed >> 208, 0);
        _world.close(seed >> 216, 0);
        if (seed % 4 == 0) _world.finalizeMany(seed >> 224);
        _world.finalize(seed >> 232, 0, seed >> 240);
        _world.replay(seed >> 244, 0);
        _world.collect(seed >> 248);
        if (seed % 16 == 0) _world.rotate(seed >> 252);
        if (seed % 7 == 0) _world.cancel(seed);
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
