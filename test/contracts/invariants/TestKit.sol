// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The cheat codes that these tests use.
interface Vm {
    function addr(uint256 privateKey) external pure returns (address);
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function startPrank(address sender) external;
    function stopPrank() external;
    function warp(uint256 timestamp) external;
    function assume(bool condition) external pure;
}

/// @notice Assertions and helpers for Solidity tests.
abstract contract TestKit {
    Vm internal constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    address[] private _targets;

    error Failed(string what);
    error NotEqual(string what, uint256 left, uint256 right);
    error TooLarge(string what, uint256 value, uint256 most);

    /// @notice The contracts whose functions an invariant test calls at random.
    function targetContracts() external view returns (address[] memory) {
        return _targets;
    }

    function _target(address handler) internal {
        _targets.push(handler);
    }

    function _assertTrue(bool condition, string memory what) internal pure {
        if (!condition) revert Failed(what);
    }

    function _assertEq(uint256 left, uint256 right, string memory what) internal pure {
        if (left != right) revert NotEqual(what, left, right);
    }

    function _assertLe(uint256 value, uint256 most, string memory what) internal pure {
        if (value > most) revert TooLarge(what, value, most);
    }

    /// @notice Folds `value` into `low … high`.
    function _bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + value % (high - low + 1);
    }
}
