// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {CappedCall} from "./CappedCall.sol";

/// @title Did an account sign?
/// @notice By its own key (ECDSA), or, where it has code, by what the code says (ERC-1271, under a gas cap). An account with both,
/// as EIP-7702 makes them, may sign either way: its key can do everything anyway.
library Signatures {
    /// @dev Enough for a wallet of some forty owners, or of a P-256 key where the precompile is.
    uint256 internal constant WALLET_GAS = 200_000;

    /// @custom:reverts CappedCall.GasTooLow when a wallet could not be given its whole cap
    function signed(address account, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        // The key comes first, because looking for code costs as much as all the rest.
        // That recovery failed is enough; how it failed concerns nobody.
        // slither-disable-next-line unused-return
        (address signer, ECDSA.RecoverError failure,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (failure == ECDSA.RecoverError.NoError && signer == account) return true;
        if (account.code.length == 0) return false;
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        (bool answered, uint256 word) = CappedCall.ask(account, WALLET_GAS, question);
        return answered && bytes32(word) == bytes32(IERC1271.isValidSignature.selector);
    }
}
