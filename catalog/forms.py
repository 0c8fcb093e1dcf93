"""What an administrator enters about a model that nobody priced."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings

from catalog.contexts import contexts_of
from catalog.importer import Slot
from catalog.models import LlmModel, Mode, PriceSource, Unit
from catalog.pricing import TOKENS_PER_PRICE
from catalog.proposals import Override
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


class WhyForm(forms.Form):
    """Why a proposal is rejected, or a price ends."""

    reason = ReasonField(label="Why", help_text="It is kept with your name.", max_length=240)


class EndPriceForm(WhyForm):
    """From when a price that somebody entered is not in force any more."""

    ends_on = forms.DateField(
        label="In force until the end of",
        help_text="Leave it empty to end it now.",
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", "class": "short"}),
    )
    field_order = ("ends_on", "reason")

    def ends_at(self) -> datetime | None:
        """Return the moment at which it ends; None is now."""
        return _end_of(self.cleaned_data["ends_on"])


class OverrideForm(forms.Form):
    """A price that beats the list: what it is for, how much, from when until when, and why."""

    source = forms.ChoiceField(
        label="Where it comes from",
        help_text="A contract beats a manual price, and a manual price beats the list.",
        choices=[(source, source.label) for source in (PriceSource.CONTRACT, PriceSource.MANUAL)],
    )
    unit = forms.ChoiceField(label="Unit", choices=Unit.choices)
    context = forms.ChoiceField(label="Service class")
    tier_start = forms.IntegerField(
        label="From input tokens",
        help_text="0, or the first total input of a call that pays this price. One from 0 holds for longer"
        " calls too, unless its source has a price for them.",
        min_value=0,
        initial=0,
        error_messages={"required": "Enter a whole number of tokens; 0 is every call"},
        widget=forms.TextInput(attrs={"inputmode": "numeric", "class": "short"}),
    )
    usd = UsdField(
        label="US dollars", help_text="For 1 million tokens, or for one of what is no token.",
        missing="Enter the price in US dollars",
    )  # fmt: skip
    starts_on = forms.DateField(
        label="From the start of",
        help_text="Leave it empty to start now. Calls of past days keep their charge until they are priced"
        " again.",
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", "class": "short"}),
    )
    ends_on = forms.DateField(
        label="Until the end of",
        help_text="Leave it empty if it has no end.",
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", "class": "short"}),
    )
    reason = ReasonField(
        label="Why",
        help_text="A contract, a mail, a wrong list. It is kept with your name.",
        max_length=240,
    )

    def __init__(self, *args: Any, model: LlmModel, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.fields["context"]
        assert isinstance(chosen, forms.ChoiceField)
        chosen.choices = [(context, context.label) for context in contexts_of(model.provider)]

    def override(self) -> Override:
        """Return what was entered, in US dollars for one unit."""
        entered = self.cleaned_data
        unit, starts_on = Unit(entered["unit"]), entered["starts_on"]
        return Override(
            slot=Slot(unit=unit, context=entered["context"], tier_start=entered["tier_start"]),
            usd_per_unit=_for_one(unit, entered["usd"]),
            source=entered["source"],
            valid_from=_start_of(starts_on) if starts_on else None,
            valid_until=_end_of(entered["ends_on"]),
        )


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(settings.TIME_ZONE))


def _end_of(day: date | None) -> datetime | None:
    return None if day is None else _start_of(day + timedelta(days=1))


def _units(names: Iterable[str]) -> list[Unit]:
    return [Unit(name) for name in names if name in Unit.values]


def _for_one(unit: Unit, usd: Decimal) -> Decimal:
    """Return the price of one unit: tokens are entered by the million."""
    return usd / TOKENS_PER_PRICE if unit in TOKEN_UNITS else usd
