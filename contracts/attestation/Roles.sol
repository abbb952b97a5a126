// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRoles} from "./IRoles.sol";

/// @title Roles with one holder each; IRoles is their manual
abstract contract Roles is IRoles {
    /// @inheritdoc IRoles
    mapping(bytes32 role => address) public holderOf;
    /// @inheritdoc IRoles
    mapping(bytes32 role => address) public nomineeOf;

    modifier onlyHolder(bytes32 role) {
        _requireHolder(role);
        _;
    }

    /// @inheritdoc IRoles
    function offerRole(bytes32 role, address nominee) external onlyHolder(role) {
        nomineeOf[role] = nominee;
        emit RoleOffered(role, msg.sender, nominee);
    }

    /// @inheritdoc IRoles
    function takeRole(bytes32 role) external {
        address nominee = nomineeOf[role];
        if (msg.sender != nominee) revert NotNominee(role, msg.sender, nominee);
        address previous = holderOf[role];

        delete nomineeOf[role];
        holderOf[role] = nominee;
        emit RoleTaken(role, nominee, previous);
    }

    /// @dev For constructors: a role without a holder would stay without one.
    function _giveRole(bytes32 role, address holder) internal {
        if (holder == address(0)) revert ZeroHolder(role);
        holderOf[role] = holder;
        emit RoleTaken(role, holder, address(0));
    }

    function _requireHolder(bytes32 role) internal view {
        address holder = holderOf[role];
        if (msg.sender != holder) revert NotHolder(role, msg.sender, holder);
    }
}
