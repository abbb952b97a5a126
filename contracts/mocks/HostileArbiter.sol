// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice An arbiter that is a contract: whoever asks it anything loses all gas. It makes the calls that it is told to make, all in
/// one transaction, and says which of them were let through.
contract HostileArbiter {
    event Tried(bool[] done);

    // solhint-disable-next-line no-complex-fallback
    fallback() external {
        while (true) {}
    }

    function tryAll(address target, bytes[] calldata calls) external {
        bool[] memory done = new bool[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            // solhint-disable-next-line avoid-low-level-calls
            (done[i],) = target.call(calls[i]);
        }
        emit Tried(done);
    }
}
