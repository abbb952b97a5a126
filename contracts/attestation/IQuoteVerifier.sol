// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice What a genuine quote proves.
struct Quote {
    bytes32 reportData; // what the attested machine was asked to sign over
    bytes32 measurement; // digest of what runs there; each verifier defines its own, in a hash domain of its own
    bytes32 platform; // digest that names the machine and survives a reboot
    uint40 validTo; // unix seconds: the last second in which the quote counts; the earliest of all that limits it
    uint8 tier; // state of the platform: 3 up to date, 2 needs configuration, 1 lowest that counts
}

/// @title Decides if a quote is genuine
/// @notice It says what the quote proves and nothing about whom that concerns: report data, freshness and allow-lists are the
/// registry's. A quote's bytes are malleable, so nothing may be remembered by their hash.
interface IQuoteVerifier {
    /// @param evidence the quote and all that is needed to check it, in the verifier's own encoding
    /// @return quote with a tier of at least 1; everything else reverts
    /// @custom:reverts with the verifier's own errors when the evidence is malformed, not genuine or out of date
    function verify(bytes calldata evidence) external returns (Quote memory quote);
}
