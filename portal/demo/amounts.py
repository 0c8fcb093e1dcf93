"""Amounts that a person would choose."""

from decimal import ROUND_DOWN, ROUND_UP, Decimal

SMALLEST = Decimal("0.01")


def round_up(amount: Decimal) -> Decimal:
    """Return the next amount with two significant digits, at least a cent."""
    return _rounded(amount, ROUND_UP)


def round_down(amount: Decimal) -> Decimal:
    """Return the amount before with two significant digits, at least a cent."""
    return _rounded(amount, ROUND_DOWN)


def _rounded(amount: Decimal, direction: str) -> Decimal:
    if amount <= SMALLEST:
        return SMALLEST
    step = max(Decimal(1).scaleb(amount.adjusted() - 1), SMALLEST)
    return (amount / step).to_integral_value(rounding=direction) * step
