// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title The door of Automata's DCAP contracts, as far as it is used here
interface IDcapAttestation {
    /// @return success is the quote genuine, by collateral that is valid now?
    /// @return output on success, packed: quote version (2 bytes), body type (2), TCB status (1), FMSPC (6), the quote's body,
    /// then nothing or the advisories as an ABI-encoded `string[]`; otherwise a reason as text
    function verifyAndAttestOnChain(bytes calldata rawQuote) external returns (bool success, bytes memory output);
}
