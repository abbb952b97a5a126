// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IIdentityRegistry} from "../../../contracts/identity/IIdentityRegistry.sol";
import {MarketState} from "../../../contracts/market/MarketState.sol";
import {IProviderStaking} from "../../../contracts/staking/IProviderStaking.sol";
import {ProofKit} from "./ProofKit.sol";

/// @notice Lets a proof move balances.
contract Balances is MarketState {
    constructor() MarketState(IIdentityRegistry(address(0))) {}

    function credit(address account, address token, uint256 amount) external {
        _credit(account, token, amount);
    }

    function debit(address account, address token, uint256 amount) external {
        _debit(account, token, amount);
    }

    function balanceOf(address account, address token) external view returns (uint256) {
        return _balances[account][token];
    }

    function _staking() internal pure override returns (IProviderStaking) {
        return IProviderStaking(address(0));
    }
}

/// @notice Balances change by what is asked for, whatever they were, and no other balance does.
contract LedgerProof is ProofKit {
    Balances private _ledger;

    function setUp() external {
        _ledger = new Balances();
        _forgetStorage(address(_ledger));
    }

    function check_debitTakesWhatThereIs(address account, address token, uint256 amount) external {
        uint256 before = _ledger.balanceOf(account, token);
        _ledger.debit(account, token, amount);
        assert(amount <= before);
        assert(_ledger.balanceOf(account, token) == before - amount);
    }

    function check_creditAdds(address account, address token, uint256 amount) external {
        uint256 before = _ledger.balanceOf(account, token);
        _ledger.credit(account, token, amount);
        uint256 current = _ledger.balanceOf(account, token);
        assert(current >= before && current - before == amount);
    }

    /// @dev Also where payer and payee are one.
    function check_aPaymentMakesAndLosesNothing(address payer, address payee, address token, uint256 amount) external {
        uint256 before = _both(payer, payee, token);
        _ledger.debit(payer, token, amount);
        _ledger.credit(payee, token, amount);
        assert(_both(payer, payee, token) == before);
    }

    function check_otherBalancesStay(
        address account,
        address token,
        address other,
        address otherToken,
        uint256 taken,
        uint256 given
    ) external {
        if (account == other && token == otherToken) return;
        uint256 before = _ledger.balanceOf(other, otherToken);
        _ledger.debit(account, token, taken);
        _ledger.credit(account, token, given);
        assert(_ledger.balanceOf(other, otherToken) == before);
    }

    function _both(address one, address other, address token) private view returns (uint256 sum) {
        // Sums of what may be anything: only that they stay equal counts.
        unchecked {
            sum = _ledger.balanceOf(one, token);
            if (one != other) sum += _ledger.balanceOf(other, token);
        }
    }
}
