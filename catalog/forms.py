"""What an administrator enters about a model that nobody priced."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django import forms

from catalog.models import Mode, Unit
from catalog.pricing import TOKENS_PER_PRICE
from catalog.units import OFFERED, TOKEN_UNITS
from core.forms import ReasonField, UsdField

PER_MILLION = {
    Unit.INPUT: "Input, US dollars for 1 million tokens",
    Unit.OUTPUT: "Output, US dollars for 1 million tokens",
    Unit.CACHED: "Cached input, US dollars for 1 million tokens",
}
FALLS_BACK = {
    Unit.CACHED: "Leave it empty to charge cached input like other input.",
    Unit.REQUEST: "Leave it empty when a request itself costs nothing.",
}


class PriceForm(forms.Form):
    """Prices of one model by the units of its mode, and why they are these."""

    def __init__(self, *args: Any, mode: Mode, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for unit in OFFERED[mode]:
            label = PER_MILLION.get(unit, f"US dollars for 1 {unit.label.lower()}")
            help_text = FALLS_BACK.get(unit, "")
            self.fields[unit.value] = UsdField(label=label, help_text=help_text, required=False)
        self.fields["reason"] = ReasonField(
            label="Where does this price come from?",
            help_text="A contract, a price list, a mail. It is kept in the audit with your name.",
            missing="Enter where the price comes from",
        )

    def usd_per_unit(self) -> dict[Unit, Decimal]:
        """Return the prices that were entered, in US dollars for one unit."""
        entered = ((unit, self.cleaned_data.get(unit.value)) for unit in _units(self.fields))
        return {unit: _for_one(unit, usd) for unit, usd in entered if usd is not None}


class FreeForm(forms.Form):
    """Why a model costs nothing."""

    reason = ReasonField(
        label="Why does it cost nothing?",
        help_text="It is kept in the audit with your name.",
        missing="Enter why it costs nothing",
    )


def _units(names: Iterable[str]) -> list[Unit]:
    return [Unit(name) for name in names if name in Unit.values]


def _for_one(unit: Unit, usd: Decimal) -> Decimal:
    """Return the price of one unit: tokens are entered by the million."""
    return usd / TOKENS_PER_PRICE if unit in TOKEN_UNITS else usd
