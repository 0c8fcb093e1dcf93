"""US dollars as Decimal: parsed, quantised and written in one way everywhere."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from core.errors import InvalidInputError

SCALE = Decimal("1e-12")  # NUMERIC(28,12), the ledger's precision
MAX_USD = Decimal("1e15")
ZERO = Decimal(0)


def quantise(amount: Decimal) -> Decimal:
    """Round to the ledger's twelve decimals, half to even, once per event."""
    return amount.quantize(SCALE, rounding=ROUND_HALF_EVEN)


def parse_usd(text: str, *, field: str = "amount") -> Decimal:
    """Read an amount of US dollars as a person types it (`1,250`, `$1250.00`).

    Raises InvalidInputError for anything that is not a finite, non-negative number below 10^15.
    """
    cleaned = text.strip().removeprefix("$").replace(",", "").replace(" ", "")
    try:
        amount = Decimal(cleaned)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0 or amount >= MAX_USD:
        raise InvalidInputError(
            f"{text.strip()[:40]!r} is not an amount. Enter US dollars such as 1250 or 99.50.", field=field
        )
    return quantise(amount)


def told_usd(value: object) -> Decimal | None:
    """Read what another system says that something cost; None where it tells nothing that can be compared.

    0 is not told: it is what gateways write that know no price.
    """
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return quantise(amount) if amount.is_finite() and 0 < amount < MAX_USD else None


def format_usd(amount: Decimal | None, *, places: int = 2) -> str:
    """Write an amount for a person: `$1,234.56`, `<$0.01` for a small positive one, `-$3.00`, `no limit`
    for None.
    """
    if amount is None:
        return "no limit"
    sign = "-" if amount < 0 else ""
    size = abs(amount)
    smallest = Decimal(1).scaleb(-places)
    if 0 < size < smallest:
        return f"{sign}<${smallest:,f}"
    return f"{sign}${size.quantize(smallest, rounding=ROUND_HALF_EVEN):,f}"


def wire_usd(amount: Decimal) -> str:
    """Write an amount for a machine: plain notation, twelve decimals."""
    return f"{quantise(amount):f}"
