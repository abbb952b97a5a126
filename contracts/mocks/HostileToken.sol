// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token like others until its maker changes its mind.
contract HostileToken is ERC20 {
    enum Mood {
        Kind,
        Paused, // every transfer reverts
        SaysNo, // moves nothing and says so, without reverting
        SaysYes, // moves nothing and says that it did
        Burns, // all the gas that it was given
        Forgets // every balance reads as zero
    }

    Mood private _mood;
    mapping(address account => bool) private _blocked;

    error Paused();
    error Blocked(address account);

    constructor() ERC20("Hostile", "HOST") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setMood(Mood mood) external {
        _mood = mood;
    }

    function setBlocked(address account, bool blocked) external {
        _blocked[account] = blocked;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return _refuses() ? _mood == Mood.SaysYes : super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return _refuses() ? _mood == Mood.SaysYes : super.transferFrom(from, to, value);
    }

    function balanceOf(address account) public view override returns (uint256) {
        return _mood == Mood.Forgets ? 0 : super.balanceOf(account);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (_blocked[from]) revert Blocked(from);
        if (_blocked[to]) revert Blocked(to);
        super._update(from, to, value);
    }

    function _refuses() private view returns (bool) {
        Mood mood = _mood;
        if (mood == Mood.Paused) revert Paused();
        while (mood == Mood.Burns) {}
        return mood == Mood.SaysNo || mood == Mood.SaysYes;
    }
}
