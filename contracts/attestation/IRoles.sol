// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Duties that one account holds at a time
/// @notice A role moves in two steps: its holder offers it, the nominee takes it, and from then on the old holder has no part
/// in it. No account stands above the holders: nobody can give a role back that its holder lost.
interface IRoles {
    event RoleOffered(bytes32 indexed role, address indexed holder, address indexed nominee);
    event RoleTaken(bytes32 indexed role, address indexed holder, address indexed previous);

    error NotHolder(bytes32 role, address caller, address holder);
    error NotNominee(bytes32 role, address caller, address nominee);
    error ZeroHolder(bytes32 role);

    /// @notice Offers a role; replaces an offer that was not taken, and zero withdraws it.
    /// @custom:reverts NotHolder
    /// @custom:emits RoleOffered
    function offerRole(bytes32 role, address nominee) external;

    /// @notice Takes an offered role. The nominee calls.
    /// @custom:reverts NotNominee
    /// @custom:emits RoleTaken
    function takeRole(bytes32 role) external;

    function holderOf(bytes32 role) external view returns (address);
    function nomineeOf(bytes32 role) external view returns (address);
}
