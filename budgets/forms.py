"""What a person enters about budgets: limits, rules, rates. Rules stand in the services."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from budgets.models import MOST_PERCENTS, Allocation, Mode, RollOver, Window, usual_percents
from core.forms import ReasonField, UsdField

MISSING = "Enter a limit in US dollars, or tick “No limit here”"
PERCENTS_INVALID = "Enter whole numbers such as 50, 80, 100"
DAY_MISSING = "Enter a day such as 2026-12-01"
NUMBER_ATTRIBUTES = {"inputmode": "numeric", "autocomplete": "off", "class": "short"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
# What a database keeps and a calendar knows.
YEARS = range(2000, 9000)


class DayField(forms.DateField):
    """A day as browsers send it, in the budget's time zone."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateInput(format="%Y-%m-%d", attrs={"type": "date", "class": "short"})
        messages = dict.fromkeys(("required", "invalid"), DAY_MISSING)
        super().__init__(widget=widget, input_formats=["%Y-%m-%d"], error_messages=messages, **kwargs)

    def to_python(self, value: Any) -> date | None:
        """Return the day. Raises ValidationError for one that nobody can mean."""
        day: date | None = super().to_python(value)
        if day is not None and day.year not in YEARS:
            raise ValidationError(DAY_MISSING, code="invalid")
        return day


class PercentsField(forms.CharField):
    """Shares of a limit as people write them down: `50, 80, 100`. Empty is the usual ones."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=forms.TextInput(attrs=NUMBER_ATTRIBUTES), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Return shares as text."""
        return value if isinstance(value, str) or value is None else ", ".join(map(str, value))

    def clean(self, value: Any) -> list[int]:
        """Return the shares. Raises ValidationError for what is no list of whole numbers."""
        words = str(super().clean(value)).replace("%", " ").replace(",", " ").split()
        if not all(re.fullmatch("[0-9]{1,3}", word) for word in words):
            raise ValidationError(PERCENTS_INVALID, code="invalid")
        return [int(word) for word in words] or usual_percents()


class LimitForm(forms.Form):
    """A new limit, or none, and why."""

    limit_usd = UsdField(
        label="New limit in US dollars", required=False, help_text="0 refuses every call.", missing=MISSING
    )
    unlimited = forms.BooleanField(
        label="No limit here", required=False, help_text="The budgets above still bind."
    )
    reason = ReasonField(
        label="Why", help_text="It stays in the history of the budget.", missing="Enter why the limit changes"
    )

    def clean(self) -> dict[str, Any]:
        """Ask for exactly one of an amount and no limit."""
        cleaned = super().clean() or {}
        if "limit_usd" not in cleaned:
            return cleaned
        has_amount = cleaned["limit_usd"] is not None
        if has_amount == bool(cleaned.get("unlimited")):
            text = "Enter an amount or tick “No limit here”, not both" if has_amount else MISSING
            self.add_error("limit_usd", text)
        return cleaned


class PlanForm(LimitForm):
    """A limit from a later day on."""

    starts_on = DayField(label="From the start of", help_text="In the time zone of the budget.")
    field_order = ("starts_on", "limit_usd", "unlimited", "reason")


class TopUpForm(forms.Form):
    """What is added to a limit, until when, and why."""

    amount_usd = UsdField(label="US dollars on top of the limit")
    ends_on = DayField(label="Until the end of", help_text="In the time zone of the budget.")
    reason = ReasonField(
        label="Why",
        help_text="It stays in the history of the budget, with your name.",
        missing="Enter why more is needed",
    )


class RulesForm(forms.Form):
    """What happens at the limit, how it is shared, what rolls over, and why."""

    mode = forms.ChoiceField(
        label="At the limit",
        choices=[
            (Mode.HARD, "Hard: refuse calls"),
            (Mode.SOFT, "Soft: let calls through with a warning"),
            (Mode.NOTIFY, "Notify: tell the people in charge"),
        ],
    )
    allocation = forms.ChoiceField(
        label="How much the budgets below may have", choices=Allocation.choices, initial=Allocation.POOL
    )
    overcommit_ratio = forms.DecimalField(
        label="Overcommit: how many times the limit",
        required=False,
        min_value=1,
        max_digits=5,
        decimal_places=2,
        widget=forms.TextInput(attrs={**NUMBER_ATTRIBUTES, "inputmode": "decimal"}),
        help_text="Only for overcommit, such as 1.5.",
    )
    roll_over = forms.ChoiceField(
        label="What a window passes on to the next", choices=RollOver.choices, initial=RollOver.NONE
    )
    alert_percents = PercentsField(
        label="Tell people at these per cent of the limit",
        help_text=f"Up to {MOST_PERCENTS} whole numbers. Empty is 50, 80 and 100. A forecast over the limit"
        " is told in any case.",
        initial=usual_percents,
    )
    reason = ReasonField(
        label="Why", help_text="It stays in the audit.", missing="Enter why the rules change"
    )

    def clean(self) -> dict[str, Any]:
        """Ask for the ratio of an overcommit; others have none."""
        cleaned = super().clean() or {}
        if cleaned.get("allocation") != Allocation.OVERCOMMIT:
            cleaned["overcommit_ratio"] = Decimal(1)
        elif cleaned.get("overcommit_ratio") is None and "overcommit_ratio" not in self.errors:
            self.add_error("overcommit_ratio", "Enter how many times the limit, such as 1.5")
        return cleaned


def _rate_field(label: str) -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=False,
        help_text="Empty is no limit.",
        widget=forms.TextInput(attrs=NUMBER_ATTRIBUTES),
        error_messages={"invalid": "Enter a whole number, or nothing for no limit"},
    )


class RateForm(forms.Form):
    """How fast a scope may call. An empty number is no limit."""

    requests_per_minute = _rate_field("Calls a minute")
    tokens_per_minute = _rate_field("Tokens a minute")
    parallel_calls = _rate_field("Calls in flight at once")
    reason = ReasonField(
        label="Why", help_text="It stays in the audit.", missing="Enter why the rate changes"
    )


class ReasonOnlyForm(forms.Form):
    """Why something ends."""

    reason = ReasonField(label="Why", help_text="It stays in the history.", missing="Enter why it ends")


class OpenForm(RulesForm, LimitForm):
    """A new budget: of what, for which window, how much, and what happens at its limit."""

    scope = forms.ChoiceField(
        label="What it limits", error_messages={"required": "Choose what the budget limits"}
    )
    key = forms.CharField(
        label="One key of it",
        required=False,
        max_length=32,
        help_text="The id of a key, such as key_…, if the budget is for that key alone.",
    )
    only = forms.ChoiceField(label="Which calls count", required=False)
    window = forms.ChoiceField(label="Window", choices=Window.choices, initial=Window.MONTH)
    week_start = forms.TypedChoiceField(
        label="A week starts on", coerce=int, choices=list(enumerate(WEEKDAYS, 1)), initial=1
    )
    year_start = forms.TypedChoiceField(
        label="A fiscal year starts in", coerce=int, choices=list(enumerate(MONTHS, 1)), initial=1
    )
    time_zone = forms.CharField(
        label="Time zone",
        max_length=64,
        help_text="Such as Europe/Berlin: windows start at midnight there.",
        error_messages={"required": "Enter a time zone, such as Europe/Berlin"},
    )
    field_order = (
        "scope", "key", "only", "window", "week_start", "year_start", "time_zone", "limit_usd", "unlimited",
        "mode", "allocation", "overcommit_ratio", "roll_over", "alert_percents", "reason",
    )  # fmt: skip

    def __init__(
        self,
        *args: Any,
        scopes: Iterable[tuple[str, str]],
        filters: Iterable[tuple[str, str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].choices = list(scopes)  # type: ignore[attr-defined]  # a ChoiceField
        self.fields["only"].choices = [("", "All calls"), *filters]  # type: ignore[attr-defined]  # a ChoiceField
        self.fields["limit_usd"].label = "Limit in US dollars"
        self.fields["reason"].help_text = "It stays in the history of the budget."
        self.fields["reason"].error_messages["required"] = "Enter why the budget is opened"


class ListForm(forms.Form):
    """Which budgets to list."""

    scope = forms.ChoiceField(label="Scope", required=False)
    window = forms.ChoiceField(
        label="Window", required=False, choices=[("", "Every window"), *Window.choices]
    )

    def __init__(self, *args: Any, scopes: Iterable[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope"].choices = [("", "Every scope"), *scopes]  # type: ignore[attr-defined]  # a ChoiceField


def confirming(form: forms.Form) -> forms.Form:
    """Return an unbound form with what was entered out of sight, and with the word that confirms it."""
    for name, field in form.fields.items():
        if name != "reason":
            field.widget = forms.HiddenInput()
    form.fields["confirm"] = forms.CharField(widget=forms.HiddenInput(), initial="yes")
    return form
