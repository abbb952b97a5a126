// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IQuoteVerifier, Quote} from "../attestation/IQuoteVerifier.sol";

/// @notice A quote verifier that believes what it is given; with a call in the evidence it makes that call first.
contract AttestQuoteDouble is IQuoteVerifier {
    address private _target;
    bytes private _call;

    error CallFailed(bytes reason);

    function callFirst(address target, bytes calldata data) external {
        (_target, _call) = (target, data);
    }

    function verify(bytes calldata evidence) external returns (Quote memory) {
        if (_target != address(0)) {
            address target = _target;
            _target = address(0);
            // solhint-disable-next-line avoid-low-level-calls
            (bool done, bytes memory reason) = target.call(_call);
            if (!done) revert CallFailed(reason);
        }
        return abi.decode(evidence, (Quote));
    }
}
