// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Committee} from "../../../contracts/attestation/Committee.sol";
import {CommitteeQuoteVerifier} from "../../../contracts/attestation/CommitteeQuoteVerifier.sol";
import {DcapQuoteVerifier} from "../../../contracts/attestation/DcapQuoteVerifier.sol";
import {IDcapAttestation} from "../../../contracts/attestation/IDcapAttestation.sol";
import {TpmEnrolment} from "../../../contracts/attestation/ITpmQuoteVerifier.sol";
import {TpmQuoteVerifier} from "../../../contracts/attestation/TpmQuoteVerifier.sol";
import {AttestHarness} from "../../../contracts/mocks/AttestHarness.sol";
import {TestKit} from "../invariants/TestKit.sol";

/// @notice Evidence comes from anybody: whatever its bytes are, it is refused with an error of ours and never by a panic.
contract EvidenceTest is TestKit {
    uint256 private constant FIRST = 1;
    uint256 private constant SECOND = 2;

    AttestHarness private _harness = new AttestHarness();
    Committee private _committee;
    TpmQuoteVerifier private _tpm;
    CommitteeQuoteVerifier private _byCommittee;
    DcapQuoteVerifier private _dcap;

    constructor() {
        address[] memory members = new address[](2);
        (members[0], members[1]) = (VM.addr(FIRST), VM.addr(SECOND));
        _committee = new Committee(members, 2, address(this), address(this));
        _tpm = new TpmQuoteVerifier(_committee, 0x0000ff);
        _byCommittee = new CommitteeQuoteVerifier(_committee);
        _dcap = new DcapQuoteVerifier(IDcapAttestation(address(_harness)), new string[](0));
    }

    function testFuzz_anyBytesAreRefusedByTheTpmVerifier(bytes calldata evidence) external {
        _refused(address(_tpm), abi.encodeCall(_tpm.verify, (evidence)));
    }

    /// @dev Gets past the structure, so that lengths, registers and key are what fails.
    function testFuzz_anyQuoteWithoutAKeyIsRefused(bytes32 extraData, uint24 pcrs, bytes calldata rest) external {
        bytes memory attest = _attest(extraData, pcrs, sha256(rest.length < 128 ? rest[:0] : rest[128:]));
        _refused(address(_tpm), abi.encodeCall(_tpm.verify, (bytes.concat(attest, rest))));
    }

    /// @dev Register values that add up, of a key that is enrolled: only the signature is left to fail.
    function testFuzz_noSignatureIsGuessed(bytes32 extraData, uint24 pcrs, bytes32 seed, bytes32 r, bytes32 s) external {
        (bytes32 x, bytes32 y) = _enrolGenerator();
        pcrs |= 0xff;
        bytes memory values;
        for (uint256 i = 0; i < 24; i++) {
            if (pcrs >> i & 1 == 1) values = bytes.concat(values, keccak256(abi.encode(seed, i)));
        }
        bytes memory attest = _attest(extraData, pcrs, sha256(values));
        bytes4 selector =
            _refused(address(_tpm), abi.encodeCall(_tpm.verify, (bytes.concat(attest, r, s, x, y, values))));
        _assertTrue(selector == bytes4(keccak256("NotSignedByKey(bytes32)")), "refused for its signature");
    }

    function testFuzz_whatATpmWritesIsReadBack(bytes32 extraData, uint24 pcrs, bytes32 digest) external view {
        (bytes32 readData, uint24 readPcrs, bytes32 readDigest) =
            _harness.parseAttest(_attest(extraData, pcrs, digest));
        _assertEq(uint256(readData), uint256(extraData), "extra data");
        _assertEq(readPcrs, pcrs, "registers");
        _assertEq(uint256(readDigest), uint256(digest), "digest");
    }

    function testFuzz_anyBytesAreRefusedByTheCommitteeVerifier(bytes calldata evidence) external {
        _refused(address(_byCommittee), abi.encodeCall(_byCommittee.verify, (evidence)));
    }

    function testFuzz_noVerdictIsGuessed(bytes32 head, bytes calldata signatures) external {
        bytes memory evidence = abi.encodePacked(head, head, head, type(uint40).max, uint8(3), signatures);
        _refused(address(_byCommittee), abi.encodeCall(_byCommittee.verify, (evidence)));
    }

    function testFuzz_aVerdictOfTheCommitteeStands(bytes32 digest) external view {
        (bytes memory one, bytes memory other) = (_sign(FIRST, digest), _sign(SECOND, digest));
        bool ordered = VM.addr(FIRST) < VM.addr(SECOND);
        _committee.requireVerdict(digest, ordered ? bytes.concat(one, other) : bytes.concat(other, one));
    }

    function testFuzz_anyAnswerIsReadOrRefused(bytes calldata answer) external {
        _readOrRefused(answer);
    }

    function testFuzz_anyOutputIsReadOrRefused(bool success, bytes calldata output) external {
        _readOrRefused(abi.encode(success, output));
    }

    function testFuzz_anyBodyAndAdvisoriesAreReadOrRefused(uint8 bodyType, uint8 status, bytes32 seed, bytes calldata rest)
        external
    {
        bytes memory body = new bytes(bodyType % 4 == 1 ? 384 : bodyType % 4 == 2 ? 584 : 648);
        for (uint256 i = 0; i < body.length; i++) body[i] = keccak256(abi.encode(seed, i))[0];
        bytes memory head = abi.encodePacked(uint16(4), uint16(bodyType % 4), status % 10, bytes6(0));
        _readOrRefused(abi.encode(true, bytes.concat(head, body, rest)));
    }

    function testFuzz_advisoriesAreReadAsTheLanguageReadsThem(string[] calldata names) external view {
        bytes32[] memory hashes = _harness.advisories(abi.encode(names));
        _assertEq(hashes.length, names.length, "count");
        for (uint256 i = 0; i < names.length; i++) {
            _assertTrue(hashes[i] == keccak256(bytes(names[i])), "an advisory");
        }
    }

    /// @dev The curve's generator: a point whose private key everybody knows and nobody's TPM has.
    function _enrolGenerator() private returns (bytes32 x, bytes32 y) {
        x = 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296;
        y = 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5;
        address[] memory none = new address[](1);
        none[0] = VM.addr(FIRST);
        // A committee of one, so that one signature enrols.
        _tpm = new TpmQuoteVerifier(new Committee(none, 1, address(this), address(this)), 0x0000ff);
        TpmEnrolment memory enrolment = TpmEnrolment(x, y, bytes20(0), 1, type(uint40).max, 1);
        VM.warp(1_000);
        _tpm.enrol(enrolment, _sign(FIRST, _enrolmentDigest(enrolment)));
    }

    function _enrolmentDigest(TpmEnrolment memory enrolment) private view returns (bytes32) {
        (, string memory name, string memory version, uint256 chainId, address verifier,,) = _tpm.eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                verifier
            )
        );
        bytes32 typeHash =
            keccak256("TpmEnrolment(bytes32 x,bytes32 y,bytes20 platform,uint40 issuedAt,uint40 validTo,uint8 tier)");
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(typeHash, enrolment))));
    }

    function _attest(bytes32 extraData, uint24 pcrs, bytes32 digest) private pure returns (bytes memory) {
        return abi.encodePacked(
            hex"ff544347801800220000",
            bytes32(0),
            hex"0020",
            extraData,
            bytes25(0),
            hex"00000001000b03",
            uint8(pcrs),
            uint8(pcrs >> 8),
            uint8(pcrs >> 16),
            hex"0020",
            digest
        );
    }

    function _sign(uint256 privateKey, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(privateKey, digest);
        return abi.encodePacked(r, s, v);
    }

    function _readOrRefused(bytes memory answer) private {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory reason) = address(_dcap).call(abi.encodeCall(_dcap.read, (answer)));
        if (!done) _requireOwnError(reason);
    }

    function _refused(address target, bytes memory data) private returns (bytes4) {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory reason) = target.call(data);
        _assertTrue(!done, "refused");
        return _requireOwnError(reason);
    }

    function _requireOwnError(bytes memory reason) private pure returns (bytes4 selector) {
        _assertTrue(reason.length >= 4, "an error, not nothing");
        selector = bytes4(reason);
        _assertTrue(selector != bytes4(keccak256("Panic(uint256)")), "no panic");
        _assertTrue(selector != bytes4(keccak256("Error(string)")), "no text");
    }
}
