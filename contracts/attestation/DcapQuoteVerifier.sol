// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DcapBody} from "./DcapBody.sol";
import {DcapOutput} from "./DcapOutput.sol";
import {IDcapAttestation} from "./IDcapAttestation.sol";
import {IQuoteVerifier, Quote} from "./IQuoteVerifier.sol";

/// @title Intel SGX and TDX quotes, checked on chain by Automata's DCAP contracts
/// @notice Evidence: the raw quote, nothing else. Whatever goes wrong inside those contracts is an error of this one: they
/// revert, rather than answer, where a P-256 precompile finds a signature bad.
/// Platform: `keccak256(abi.encode(keccak256("berth/platform/dcap/v1"), id))` with the 16-byte id that the quoting enclave
/// derives from the processor and writes into the signed header.
/// Tier, by TCB status: up to date 3; configuration needed 2; software hardening needed 3, with configuration 2, but 1 where
/// an advisory is not on this contract's list of those that attested software deals with. Out of date, relaunch advised,
/// revoked and unrecognized are refused: a period of grace would count from a date that the output does not carry.
/// Validity: the collateral is valid at this block and the output does not say for how long, so only the registry's `MAX_AGE`
/// limits it. The list of advisories and the contracts asked are fixed; another policy is another deployment. No fee is paid,
/// so the contracts asked must take none. Their output is that of version 1.1; others have no known body type and are refused.
contract DcapQuoteVerifier is IQuoteVerifier {
    bytes32 private constant PLATFORM_DOMAIN = keccak256("berth/platform/dcap/v1");
    uint256 private constant QUOTE_HEADER_BYTES = 48;

    // TCB status, as the DCAP contracts count.
    uint8 private constant UP_TO_DATE = 0;
    uint8 private constant HARDENING_NEEDED = 1;
    uint8 private constant CONFIGURATION_AND_HARDENING_NEEDED = 2;
    uint8 private constant CONFIGURATION_NEEDED = 3;

    IDcapAttestation public immutable dcap;

    /// @notice Is this advisory one that attested software deals with? By keccak256 of its name, such as "INTEL-SA-00615".
    mapping(bytes32 advisoryHash => bool) public advisoryAccepted;

    error QuoteTooShort(uint256 length);
    error QuoteRefused(bytes reason);
    error OutputTooShort(uint256 length);
    error TcbStatusRefused(uint8 status);

    constructor(IDcapAttestation dcap_, string[] memory acceptedAdvisories) {
        dcap = dcap_;
        for (uint256 i = 0; i < acceptedAdvisories.length; i++) {
            advisoryAccepted[keccak256(bytes(acceptedAdvisories[i]))] = true;
        }
    }

    /// @inheritdoc IQuoteVerifier
    /// @custom:reverts QuoteTooShort; QuoteRefused with the reason where there is one; those of `read`
    function verify(bytes calldata evidence) external returns (Quote memory quote) {
        if (evidence.length < QUOTE_HEADER_BYTES) revert QuoteTooShort(evidence.length);
        // A low-level call, so that an answer of the wrong shape is an error of ours too.
        (bool answered, bytes memory answer) =
            // solhint-disable-next-line avoid-low-level-calls
            address(dcap).call(abi.encodeCall(IDcapAttestation.verifyAndAttestOnChain, (evidence)));
        if (!answered) revert QuoteRefused(answer);
        // By a call, so that the answer can be sliced where it lies.
        quote = this.read(answer);
        quote.platform = keccak256(abi.encode(PLATFORM_DOMAIN, bytes16(evidence[28:44])));
    }

    /// @notice What an answer of the DCAP contracts says, but for the platform, which is not in it.
    /// @param answer ABI-encoded, as `verifyAndAttestOnChain` returns it
    /// @custom:reverts QuoteRefused, OutputTooShort, TcbStatusRefused; AnswerMalformed, AdvisoriesMalformed;
    /// BodyTypeUnknown, DebugMode, ReportDataTooLong
    function read(bytes calldata answer) external view returns (Quote memory quote) {
        (bool success, bytes calldata output) = DcapOutput.split(answer);
        if (!success) revert QuoteRefused(output);
        if (output.length < DcapOutput.HEAD_BYTES) revert OutputTooShort(output.length);
        uint16 bodyType = uint16(bytes2(output[2:4]));
        uint256 bodyEnd = DcapOutput.HEAD_BYTES + DcapBody.length(bodyType);
        if (output.length < bodyEnd) revert OutputTooShort(output.length);
        quote.tier = _tier(uint8(output[4]), output[bodyEnd:]);
        (quote.reportData, quote.measurement) = DcapBody.read(bodyType, output[DcapOutput.HEAD_BYTES:bodyEnd]);
        quote.validTo = type(uint40).max;
    }

    function _tier(uint8 status, bytes calldata advisories) private view returns (uint8) {
        if (status == UP_TO_DATE) return 3;
        if (status == CONFIGURATION_NEEDED) return 2;
        if (status != HARDENING_NEEDED && status != CONFIGURATION_AND_HARDENING_NEEDED) {
            revert TcbStatusRefused(status);
        }
        if (!_allAccepted(advisories)) return 1;
        return status == HARDENING_NEEDED ? 3 : 2;
    }

    /// @dev Hardening that no advisory explains is not accepted either.
    function _allAccepted(bytes calldata list) private view returns (bool) {
        if (list.length == 0) return false;
        bytes32[] memory hashes = DcapOutput.advisories(list);
        for (uint256 i = 0; i < hashes.length; i++) {
            if (!advisoryAccepted[hashes[i]]) return false;
        }
        return hashes.length > 0;
    }
}
