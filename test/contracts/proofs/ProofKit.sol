// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The cheat codes of halmos that the proofs use.
interface Svm {
    function enableSymbolicStorage(address account) external;
}

/// @notice What every proof needs. A proof is a function `check_…`: halmos tries it with all arguments at once and looks for
/// an `assert` that fails. A call that reverts proves nothing and breaks nothing.
abstract contract ProofKit {
    Svm private constant SVM = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    /// @dev From here on the contract's storage may hold anything.
    function _forgetStorage(address account) internal {
        SVM.enableSymbolicStorage(account);
    }
}
