// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Who found the same, in one word
/// @notice Replicas that revealed the same output form a group. Groups are numbered from 1 in the order in which they came up;
/// the word keeps four bits per replica, the number of its group or 0 while it has not revealed.
library Tally {
    /// @notice As many replicas as there are numbers for groups of one.
    uint16 internal constant MAX_REPLICAS = 15;

    /// @param replica 0 … MAX_REPLICAS − 1
    function groupOf(uint64 groups, uint256 replica) internal pure returns (uint256) {
        return (groups >> (4 * replica)) & 0xf;
    }

    /// @param replica in no group so far
    function joined(uint64 groups, uint256 replica, uint256 group) internal pure returns (uint64) {
        // Fits in 64 bits: four bits for each of at most 15 replicas.
        return groups | uint64(group << (4 * replica));
    }

    /// @return known how many groups there are
    function groupsIn(uint64 groups) internal pure returns (uint256 known) {
        for (; groups != 0; groups >>= 4) {
            uint256 group = groups & 0xf;
            if (group > known) known = group;
        }
    }

    /// @return revealed how many replicas are in a group
    /// @return largest a group that none outnumbers
    /// @return size how many replicas are in that
    function count(uint64 groups) internal pure returns (uint256 revealed, uint256 largest, uint256 size) {
        // Four bits for the size of each group.
        uint256 sizes = 0;
        for (; groups != 0; groups >>= 4) {
            uint256 group = groups & 0xf;
            if (group == 0) continue;
            ++revealed;
            sizes += 1 << (4 * group);
            uint256 members = (sizes >> (4 * group)) & 0xf;
            if (members > size) (largest, size) = (group, members);
        }
    }
}
