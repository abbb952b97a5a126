// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DcapOutput} from "../attestation/DcapOutput.sol";
import {KeyReport} from "../attestation/KeyReport.sol";
import {TpmAttest} from "../attestation/TpmAttest.sol";

/// @notice Lets a test call the internal functions of the attestation libraries.
contract AttestHarness {
    function keyReport(KeyReport.Fields calldata fields) external pure returns (bytes32) {
        return KeyReport.hash(fields);
    }

    function parseAttest(bytes calldata attest) external pure returns (bytes32, uint24, bytes32) {
        return TpmAttest.parse(attest);
    }

    function advisories(bytes calldata list) external pure returns (bytes32[] memory) {
        return DcapOutput.advisories(list);
    }
}
