// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IIdentityRegistry} from "../../../contracts/identity/IIdentityRegistry.sol";
import {Stake} from "../../../contracts/staking/IProviderStaking.sol";
import {ProviderStaking} from "../../../contracts/staking/ProviderStaking.sol";
import {ProofKit} from "./ProofKit.sol";

/// @notice Stake is neither made nor lost, whatever there was before: this contract is the market and controls everyone.
/// @custom:halmos --solver z3
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

    /// @dev At most the bond is taken. Other jobs' bonds stay locked.
    function check_slashTakesFromTheBondOnly(Scene calldata scene, Slash calldata slash) external {
        Held memory old = _held(scene);
        _slash(scene, slash);
        Held memory current = _held(scene);
        assert(slash.amount <= slash.bond && current.locked + slash.bond == old.locked);
        assert(current.free == old.free + (slash.bond - slash.amount) && current.leaving == old.leaving);
    }

    /// @dev Each account is owed its shares, which together are what was taken, and nobody else anything.
    function check_slashOwesWhatItTakes(Scene calldata scene, Slash calldata slash, address account) external {
        uint256 owed = _staking.owedTo(account, scene.token);
        _slash(scene, slash);
        uint256 shares = account == scene.victim ? slash.compensation : 0;
        if (account == scene.helper) shares += slash.reward;
        if (account == SINK) shares += slash.amount - slash.compensation - slash.reward;
        assert(_staking.owedTo(account, scene.token) == owed + shares);
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
}
