// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {ICommittee} from "./ICommittee.sol";
import {Roles} from "./Roles.sol";

/// @title A committee; ICommittee is its manual
contract Committee is ICommittee, Roles {
    bytes32 public constant MEMBERS = "MEMBERS";
    bytes32 public constant THRESHOLD = "THRESHOLD";
    /// @inheritdoc ICommittee
    uint8 public constant MAX_MEMBERS = 32;
    uint256 private constant SIGNATURE_BYTES = 65;

    /// @inheritdoc ICommittee
    mapping(address account => bool) public isMember;
    /// @inheritdoc ICommittee
    uint8 public threshold;
    /// @inheritdoc ICommittee
    uint8 public memberCount;

    constructor(address[] memory members, uint8 threshold_, address membersHolder, address thresholdHolder) {
        _giveRole(MEMBERS, membersHolder);
        _giveRole(THRESHOLD, thresholdHolder);
        for (uint256 i = 0; i < members.length; i++) _add(members[i]);
        _setThreshold(threshold_);
    }

    /// @inheritdoc ICommittee
    function addMember(address member) external onlyHolder(MEMBERS) {
        _add(member);
    }

    /// @inheritdoc ICommittee
    function removeMember(address member) external onlyHolder(MEMBERS) {
        if (memberCount == threshold) revert ThresholdOutOfRange(threshold, memberCount - 1);
        _remove(member);
    }

    /// @inheritdoc ICommittee
    function replaceMember(address member, address successor) external onlyHolder(MEMBERS) {
        _remove(member);
        _add(successor);
    }

    /// @inheritdoc ICommittee
    function setThreshold(uint8 threshold_) external onlyHolder(THRESHOLD) {
        _setThreshold(threshold_);
    }

    /// @inheritdoc ICommittee
    function requireVerdict(bytes32 digest, bytes calldata signatures) external view {
        if (signatures.length % SIGNATURE_BYTES != 0) revert MalformedSignatures(signatures.length);
        uint256 count = signatures.length / SIGNATURE_BYTES;
        if (count < threshold || count > memberCount) revert WrongSignerCount(count, threshold, memberCount);
        address previous = address(0);
        for (uint256 i = 0; i < count; i++) {
            uint256 start = i * SIGNATURE_BYTES;
            // That recovery failed is enough; how it failed concerns nobody.
            // slither-disable-next-line unused-return
            (address signer, ECDSA.RecoverError failure,) =
                ECDSA.tryRecoverCalldata(digest, signatures[start:start + SIGNATURE_BYTES]);
            if (failure != ECDSA.RecoverError.NoError) revert BadSignature(i);
            if (signer <= previous) revert SignersNotAscending(previous, signer);
            if (!isMember[signer]) revert NotMember(signer);
            previous = signer;
        }
    }

    function _add(address member) private {
        if (member == address(0)) revert ZeroMember();
        if (isMember[member]) revert AlreadyMember(member);
        if (memberCount == MAX_MEMBERS) revert CommitteeFull(MAX_MEMBERS);
        isMember[member] = true;
        memberCount++;
        emit MemberAdded(member);
    }

    function _remove(address member) private {
        if (!isMember[member]) revert NotMember(member);
        isMember[member] = false;
        memberCount--;
        emit MemberRemoved(member);
    }

    function _setThreshold(uint8 threshold_) private {
        if (threshold_ == 0 || threshold_ > memberCount) revert ThresholdOutOfRange(threshold_, memberCount);
        threshold = threshold_;
        emit ThresholdSet(threshold_);
    }
}
