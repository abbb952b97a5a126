// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IVerifier, Verdict} from "../../../contracts/market/IVerifier.sol";
import {Claim, Terms} from "../../../contracts/market/Orders.sol";

/// @notice A verifier that answers as it is told, or misbehaves.
contract ErraticJudge is IVerifier {
    uint256 internal constant REVERTS = 4;
    uint256 internal constant BURNS = 5;
    uint256 internal constant BABBLES = 6;

    uint256 private _answer;

    error Silent();

    function setAnswer(uint256 answer) external {
        _answer = answer;
    }

    function judge(Terms calldata, Claim calldata, bytes calldata) external view returns (Verdict) {
        uint256 answer = _answer;
        if (answer == REVERTS) revert Silent();
        while (answer == BURNS && gasleft() > 0) {}
        if (answer == BABBLES) {
            assembly {
                mstore(0, 77)
                return(0, 32)
            }
        }
        return Verdict(answer);
    }
}
