// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IIdentityRegistry} from "../../../contracts/identity/IIdentityRegistry.sol";
import {Stake} from "../../../contracts/staking/IProviderStaking.sol";
import {ProviderStaking} from "../../../contracts/staking/ProviderStaking.sol";
import {ProofKit} from "./ProofKit.sol";

/// @notice Stake is neither made nor lost, whatever there was before: this contract is the market and controls everyone.
contract StakingProof is ProofKit {
    address private constant SINK = address(0xdEaD);
    ProviderStaking private _staking;

    /// @dev Whose stake in what, and who besides the sink may get something of it.
    struct Scene {
        address operator;
        IERC20 token;
        address victim;
        address helper;
    }

    struct Slash {
        uint128 bond;
        uint128 amount;
        uint128 compensation;
        uint128 reward;
    }

    /// @dev Token units of one operator, and what is owed to the victim.
    struct Held {
        uint256 free;
        uint256 locked;
        uint256 leaving;
        uint256 owed;
    }

    function setUp() external {
        _staking = new ProviderStaking(IIdentityRegistry(address(this)), address(this), SINK);
        _forgetStorage(address(_staking));
    }

    /// @dev What the staking contract asks the identity registry.
    function controllerOf(address) external view returns (address) {
        return address(this);
    }

    function check_lockMovesFreeToLocked(Scene calldata scene, uint128 amount) external {
        Held memory old = _held(scene);
        uint256 staked = _staking.lock(scene.operator, scene.token, amount);
        Held memory current = _held(scene);
        assert(current.locked == old.locked + amount && current.free + amount == old.free);
        assert(current.leaving == old.leaving && current.owed == old.owed);
        assert(staked == old.free + old.locked);
    }

    function check_unlockMovesLockedToFree(Scene calldata scene, uint128 amount) external {
        Held memory old = _held(scene);
        _staking.unlock(scene.operator, scene.token, amount);
        Held memory current = _held(scene);
        assert(current.locked + amount == old.locked && current.free == old.free + amount);
        assert(current.leaving == old.leaving && current.owed == old.owed);
    }

    function check_requestExitMovesFreeToLeaving(Scene calldata scene, uint128 amount) external {
        Held memory old = _held(scene);
        _staking.requestExit(scene.operator, scene.token, amount);
        Held memory current = _held(scene);
        assert(current.free + amount == old.free && current.leaving == old.leaving + amount);
        assert(current.locked == old.locked && current.owed == old.owed);
    }

    function check_cancelExitMovesLeavingToFree(Scene calldata scene) external {
        Held memory old = _held(scene);
        _staking.cancelExit(scene.operator, scene.token);
        Held memory current = _held(scene);
        assert(current.leaving == 0 && current.free == old.free + old.leaving);
        assert(current.locked == old.locked && current.owed == old.owed);
    }

    /// @dev What is taken is at most the bond, and owed to the three to the unit. Other jobs' bonds stay locked.
    function check_slashPaysWhatItTakes(Scene calldata scene, Slash calldata slash) external {
        Held memory old = _held(scene);
        uint256 owed = _owed(scene);
        _slash(scene, slash);
        Held memory current = _held(scene);
        assert(slash.amount <= slash.bond && _owed(scene) == owed + slash.amount);
        assert(current.locked + slash.bond == old.locked);
        assert(current.free == old.free + (slash.bond - slash.amount) && current.leaving == old.leaving);
    }

    /// @dev `other` is any other stake, of the same operator or of the same token too.
    function check_slashLeavesOtherStakesAlone(Scene calldata scene, Slash calldata slash, Scene calldata other) external {
        if (scene.operator == other.operator && address(scene.token) == address(other.token)) return;
        Held memory old = _held(other);
        _slash(scene, slash);
        Held memory current = _held(other);
        assert(current.free == old.free && current.locked == old.locked && current.leaving == old.leaving);
    }

    function _slash(Scene calldata scene, Slash calldata slash) private {
        _staking.slash(
            scene.operator,
            scene.token,
            slash.bond,
            slash.amount,
            scene.victim,
            slash.compensation,
            scene.helper,
            slash.reward
        );
    }

    function _held(Scene calldata scene) private view returns (Held memory) {
        Stake memory stake = _staking.stakeOf(scene.operator, scene.token);
        uint256 leaving = _staking.exitOf(scene.operator, scene.token).amount;
        return Held(stake.free, stake.locked, leaving, _staking.owedTo(scene.victim, scene.token));
    }

    /// @dev What is owed to the three, each counted once.
    function _owed(Scene calldata scene) private view returns (uint256 sum) {
        (address victim, address helper) = (scene.victim, scene.helper);
        sum = _staking.owedTo(SINK, scene.token);
        if (victim != SINK) sum += _staking.owedTo(victim, scene.token);
        if (helper != SINK && helper != victim) sum += _staking.owedTo(helper, scene.token);
    }
}
