// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Accounts of which so many together give a verdict
/// @notice Members are accounts that sign with a key of their own: contracts (ERC-1271) are no members. A verdict is checked
/// when it is used, by the members and the threshold of that moment.
/// Role MEMBERS changes who sits in it, role THRESHOLD how many must agree.
interface ICommittee {
    event MemberAdded(address indexed member);
    event MemberRemoved(address indexed member);
    event ThresholdSet(uint8 threshold);

    error ZeroMember();
    error AlreadyMember(address member);
    error NotMember(address account);
    error CommitteeFull(uint256 most);
    error ThresholdOutOfRange(uint256 threshold, uint256 members);
    error MalformedSignatures(uint256 length);
    error WrongSignerCount(uint256 signers, uint256 threshold, uint256 members);
    error BadSignature(uint256 index);
    error SignersNotAscending(address previous, address next);

    /// @notice Role MEMBERS.
    /// @custom:reverts NotHolder, ZeroMember, AlreadyMember, CommitteeFull
    /// @custom:emits MemberAdded
    function addMember(address member) external;

    /// @notice Role MEMBERS. As many members as the threshold must remain.
    /// @custom:reverts NotHolder, NotMember, ThresholdOutOfRange
    /// @custom:emits MemberRemoved
    function removeMember(address member) external;

    /// @notice Role MEMBERS: one goes, another comes, in one step.
    /// @custom:reverts NotHolder, NotMember, ZeroMember, AlreadyMember
    /// @custom:emits MemberRemoved, MemberAdded
    function replaceMember(address member, address successor) external;

    /// @notice Role THRESHOLD.
    /// @custom:reverts NotHolder, ThresholdOutOfRange
    /// @custom:emits ThresholdSet
    function setThreshold(uint8 threshold_) external;

    /// @notice Returns if at least the threshold of members signed `digest`, and reverts otherwise.
    /// @param digest an EIP-712 digest of the asking contract, so that a verdict serves one contract on one chain
    /// @param signatures of 65 bytes each, one after the other, by distinct members in ascending order of their addresses
    /// @custom:reverts MalformedSignatures, WrongSignerCount, BadSignature, SignersNotAscending, NotMember
    function requireVerdict(bytes32 digest, bytes calldata signatures) external view;

    function isMember(address account) external view returns (bool);
    function threshold() external view returns (uint8);
    function memberCount() external view returns (uint8);
    /// @notice The largest committee: it bounds what checking a verdict can cost.
    function MAX_MEMBERS() external view returns (uint8); // solhint-disable-line func-name-mixedcase
}
