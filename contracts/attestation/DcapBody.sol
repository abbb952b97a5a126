// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Reads the body of an Intel quote: an SGX enclave's report, or a TDX guest's of module version 1.0 or 1.5
/// @notice What is measured is one stretch of the body, so that nothing that tells guests apart can be left out:
/// - SGX, bytes 48–319: attributes, MRENCLAVE, MRSIGNER, configuration, product, version and family;
/// - TDX, bytes 120–519: attributes, XFAM, MRTD, configuration, owner, RTMR0 to RTMR3;
/// - TDX 1.5 also bytes 600–647: the migration guest.
/// Measurement: `keccak256(abi.encodePacked(keccak256("berth/measurement/dcap/v1"), bodyType (uint16), stretches))`.
library DcapBody {
    bytes32 internal constant MEASUREMENT_DOMAIN = keccak256("berth/measurement/dcap/v1");
    uint16 private constant SGX = 1;
    uint16 private constant TDX_10 = 2;
    uint16 private constant TDX_15 = 3;
    /// @dev Bit 1 of the first attribute byte of an enclave.
    uint8 private constant SGX_DEBUG = 0x02;

    error BodyTypeUnknown(uint16 bodyType);
    error DebugMode(uint16 bodyType);
    error ReportDataTooLong(bytes32 upperHalf);

    /// @notice Bytes of a body of that type.
    function length(uint16 bodyType) internal pure returns (uint256) {
        if (bodyType == SGX) return 384;
        if (bodyType == TDX_10) return 584;
        if (bodyType == TDX_15) return 648;
        revert BodyTypeUnknown(bodyType);
    }

    /// @param body of exactly `length(bodyType)` bytes
    /// @return reportData the lower half of the 64 bytes; the upper one must be zero
    function read(uint16 bodyType, bytes calldata body)
        internal
        pure
        returns (bytes32 reportData, bytes32 measurement)
    {
        if (bodyType == SGX) {
            if (uint8(body[48]) & SGX_DEBUG != 0) revert DebugMode(bodyType);
            reportData = _reportData(body[320:384]);
            measurement = keccak256(abi.encodePacked(MEASUREMENT_DOMAIN, bodyType, body[48:320]));
        } else {
            // The whole first byte: any of its bits makes the guest one that its host can look into.
            if (uint8(body[120]) != 0) revert DebugMode(bodyType);
            reportData = _reportData(body[520:584]);
            bytes calldata migration = bodyType == TDX_15 ? body[600:648] : body[:0];
            measurement = keccak256(abi.encodePacked(MEASUREMENT_DOMAIN, bodyType, body[120:520], migration));
        }
    }

    function _reportData(bytes calldata field) private pure returns (bytes32) {
        bytes32 upperHalf = bytes32(field[32:64]);
        if (upperHalf != 0) revert ReportDataTooLong(upperHalf);
        return bytes32(field[0:32]);
    }
}
