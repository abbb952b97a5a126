// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {NodeProfile} from "../../../contracts/identity/IIdentityRegistry.sol";
import {IdentityRegistry} from "../../../contracts/identity/IdentityRegistry.sol";
import {IJobMarket} from "../../../contracts/market/IJobMarket.sol";
import {JobMarket} from "../../../contracts/market/JobMarket.sol";
import {MarketDesk} from "../../../contracts/market/MarketDesk.sol";
import {Mode, NodeLimits, Offer, Request} from "../../../contracts/market/Orders.sol";
import {TestToken} from "../../../contracts/mocks/TestToken.sol";
import {IProviderStaking} from "../../../contracts/staking/IProviderStaking.sol";
import {ErraticJudge} from "./ErraticJudge.sol";
import {TestKit} from "./TestKit.sol";

/// @notice The contracts and everybody who uses them: two requesters, one payer, three operators with a node each, a
/// matcher, an arbiter, a verifier that answers as it is told, a guardian and a stranger.
abstract contract MarketWorld is TestKit {
    uint256 internal constant OPERATORS = 3;
    uint32 internal constant NODE_CPU = 4000; // what each node offers
    uint32 internal constant LIMIT_CPU = 6000; // what its operator allows
    uint16 internal constant MAX_ACTIVE = 3;
    address internal constant SINK = address(0xdead);

    IdentityRegistry internal _identity = new IdentityRegistry();
    ErraticJudge internal _judge = new ErraticJudge();
    address internal _guardian = address(0xa6);
    IJobMarket internal _market =
        IJobMarket(address(new JobMarket(_identity, address(new MarketDesk(_identity)), SINK, _guardian)));
    IProviderStaking internal _staking = _market.staking();
    TestToken internal _token = new TestToken();

    address[2] internal _requesters = [address(0xa1), address(0xa2)];
    address internal _payer = VM.addr(0xa3);
    address internal _matcher = address(0xa4);
    address internal _stranger = address(0xa5);
    address internal _arbiter = address(0xa7);
    address[3] internal _operators = [address(0xb1), address(0xb2), address(0xb3)];
    uint256[3] internal _keys = [uint256(0xc1), 0xc2, 0xc3];
    address[] internal _everyKey; // also those that were replaced

    constructor() {
        VM.warp(1_800_000_000);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            _publish(i);
            VM.startPrank(_operators[i]);
            _market.setNodeLimits(_operators[i], 0, _limits());
            _market.setAccepted(_operators[i], _accepted(), true);
            VM.stopPrank();
            _addStake(_operators[i], 1_000_000);
        }
        _addMoney(_requesters[0], 1e12);
        _addMoney(_requesters[1], 1e12);
        _addMoney(_payer, 1e12);
        _addMoney(_stranger, 1e12);
    }

    function _publish(uint256 i) internal {
        NodeProfile memory profile;
        profile.key = VM.addr(_keys[i]);
        _everyKey.push(profile.key);
        profile.wgKey = keccak256(abi.encode("wg", _keys[i]));
        profile.validTo = uint40(block.timestamp + 3650 days);
        bytes memory proof = _sign(_keys[i], _keyDigest(_operators[i], profile));
        VM.startPrank(_operators[i]);
        _identity.publishNode(_operators[i], profile, proof);
        VM.stopPrank();
    }

    function _addStake(address operator, uint128 amount) internal {
        _token.mint(_stranger, amount);
        VM.startPrank(_stranger);
        _token.approve(address(_staking), amount);
        _staking.stake(operator, _token, amount);
        VM.stopPrank();
    }

    function _addMoney(address account, uint256 amount) internal {
        _token.mint(_stranger, amount);
        VM.startPrank(_stranger);
        _token.approve(address(_market), amount);
        _market.deposit(account, _token, amount);
        VM.stopPrank();
    }

    function _limits() internal pure returns (NodeLimits memory) {
        return NodeLimits(50_000, MAX_ACTIVE, LIMIT_CPU, 8192, 8192, 2);
    }

    function _accepted() internal view returns (address[] memory what) {
        what = new address[](3);
        (what[0], what[1], what[2]) = (address(_token), address(_judge), _arbiter);
    }

    /// @dev An offer for `request`, whose judges it takes on.
    function _offer(Request memory request, uint256 operator, uint256 seed) internal view returns (Offer memory offer) {
        seed = _mix(seed);
        offer.operator = _operators[operator];
        offer.epoch = _market.useOf(offer.operator, 0).epoch;
        offer.token = address(_token);
        offer.cpuRateX18 = uint128(_bound(seed, 0, 3e17));
        offer.memoryRateX18 = uint128(_bound(seed >> 32, 0, 3e17));
        offer.baseCharge = uint128(_bound(seed >> 64, 0, 1000));
        (offer.cpuMilli, offer.memoryMiB, offer.diskMiB, offer.gpus) = (NODE_CPU, 8192, 8192, 2);
        offer.maxSeconds = 4000;
        offer.minHeartbeatSeconds = 60;
        offer.maxSettleSeconds = 1 days;
        (offer.verifier, offer.arbiter, offer.arbiterFee) = (request.verifier, request.arbiter, request.arbiterFee);
        offer.maxBond = 50_000;
        offer.maxCompensationBps = 1000;
        offer.expiresAt = uint40(block.timestamp + 600);
    }

    function _request(address requester, address payer, uint256 seed, uint256 nonce)
        internal
        view
        returns (Request memory request)
    {
        seed = _mix(seed);
        (request.requester, request.payer, request.token) = (requester, payer, address(_token));
        request.maxPrice = uint128(_bound(seed, 1e6, 5e9));
        request.matcherTip = uint128(_bound(seed >> 16, 0, 1000));
        request.replicas = uint16(_bound(seed >> 32, 1, 2));
        request.cpuMilli = uint32(_bound(seed >> 40, 0, 2500));
        request.memoryMiB = uint32(_bound(seed >> 56, 0, 2048));
        request.maxSeconds = uint32(_bound(seed >> 72, 1, 3600));
        request.openUntil = uint40(block.timestamp + _bound(seed >> 96, 0, 3600));
        request.submitWindow = uint32(_bound(seed >> 112, request.maxSeconds, 7200));
        request.acceptWindow = uint32(_bound(seed >> 128, 0, request.submitWindow));
        request.challengeWindow = uint32(_bound(seed >> 144, 0, 3600));
        request.bond = uint128(_bound(seed >> 160, 0, 50_000));
        request.compensationBps = uint16(_bound(seed >> 176, 0, 1000));
        request.bounty = uint128(_bound(seed >> 192, 0, request.bond / 10));
        request.nonce = bytes32(nonce);
        uint256 kind = (seed >> 208) % 4;
        if (kind == 1) _makeLease(request, seed >> 216);
        if (kind >= 2) _makeJudged(request, seed >> 216, kind == 3);
    }

    function _makeLease(Request memory request, uint256 seed) private pure {
        request.mode = Mode.Lease;
        request.heartbeatSeconds = uint32(_bound(seed, 60, 900));
        request.noticeSeconds = uint32(_bound(seed >> 16, 0, 3) * 300);
        request.acceptWindow = uint32(_bound(seed >> 24, 0, 2 * request.heartbeatSeconds));
    }

    /// @dev An arbiter, a verifier, or both.
    function _makeJudged(Request memory request, uint256 seed, bool verified) private view {
        request.arbiterWindow = uint32(_bound(seed, 1, 3600));
        if (verified) request.verifier = address(_judge);
        if (verified && seed % 2 == 0) return;
        (request.arbiter, request.challengeWindow) = (_arbiter, request.challengeWindow + 1);
        request.arbiterFee = uint128(_bound(seed >> 16, 0, request.bond));
    }

    /// @dev Small seeds must not give small members all over.
    function _mix(uint256 seed) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed)));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _keyDigest(address operator, NodeProfile memory profile) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Berth Identity"),
                keccak256("1"),
                block.chainid,
                address(_identity)
            )
        );
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("NodeKey(address operator,uint32 index,bytes32 wgKey)"), operator, profile.index, profile.wgKey
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
