"""What is entered to ask, and to decide."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.core.validators import MinLengthValidator, RegexValidator

from approvals.facts import ModelPrice
from approvals.models import Policy
from approvals.services.asking import MAX_REASON_CHARACTERS, TICKET_PATTERN
from catalog.models import Tier
from core.forms import ReasonField, UsdField
from core.money import format_usd
from keys.models import ApiKey
from teams.models import Project

DAYS_WIDGET = {"inputmode": "numeric", "autocomplete": "off", "class": "short"}
HIGHEST_DAYS = 32_767  # what the column holds; the policy allows far less


def ticket_field(*, needed: bool) -> forms.CharField:
    """Return the field for a ticket, which some policies need."""
    return forms.CharField(
        label="Ticket" if needed else "Ticket (optional)",
        help_text="Such as SEARCH-123, or its address.",
        required=needed,
        max_length=200,
        validators=[
            RegexValidator(TICKET_PATTERN, "Enter a ticket such as SEARCH-123, or its https address")
        ],
        error_messages={"required": "Enter the ticket that this is for"},
    )


class DaysField(forms.IntegerField):
    """A number of days as a person types it."""

    def __init__(self, *, most: int = HIGHEST_DAYS, **kwargs: Any) -> None:
        message = f"Enter a whole number of days, from 1 to {most}"
        super().__init__(
            widget=forms.TextInput(attrs=DAYS_WIDGET),
            min_value=1,
            max_value=most,
            error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), message),
            **kwargs,
        )


class DecideForm(forms.Form):
    """What an approver offers and says. Empty terms are those that were asked for."""

    seen_revision = forms.IntegerField(widget=forms.HiddenInput)
    monthly_cap_usd = UsdField(label="Monthly cap, in US dollars", required=False)
    duration_days = DaysField(label="Access for how many days", required=False)
    comment = ReasonField(
        label="Comment", required=False, help_text="The requester reads it. Needed to deny."
    )

    def __init__(self, *args: Any, expected_usd: Decimal, longest_days: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cap, days = self.fields["monthly_cap_usd"], self.fields["duration_days"]
        cap.help_text = f"At most {format_usd(expected_usd)}."
        days.help_text = f"At most {longest_days}."


class ProjectForm(forms.Form):
    """Which project the calls are for."""

    project = forms.ChoiceField(
        label="Which project is it for?",
        help_text="You can ask for the projects of the teams that you work in.",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose the project that the calls are for",
            "invalid_choice": "Choose one of your open projects",
        },
    )

    def __init__(self, *args: Any, projects: Iterable[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].choices = [(project.code, project.name) for project in projects]  # type: ignore[attr-defined]  # a ChoiceField


class TierForm(forms.Form):
    """Which tier is needed. Tier 1 needs no request."""

    tier = forms.TypedChoiceField(
        label="Which tier do you need?",
        help_text="Tier 1 needs no approval: make a key on the Keys page.",
        widget=forms.RadioSelect,
        coerce=int,
        error_messages={
            "required": "Choose a tier",
            "invalid_choice": "Choose one of the tiers that can be asked for",
        },
    )

    def __init__(self, *args: Any, tiers: Iterable[Tier], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["tier"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            (tier.number, f"{tier}, {tier.name}: {tier.description}") for tier in tiers
        ]


class ModelsForm(forms.Form):
    """Which models of the tier are needed."""

    models = forms.MultipleChoiceField(
        label="Which models do you need?",
        help_text="Choose as few as you need. None chosen means every model of the tier.",
        widget=forms.CheckboxSelectMultiple,
        required=False,
        error_messages={"invalid_choice": "%(value)s is not a model of this tier: choose from the list"},
    )

    def __init__(self, *args: Any, prices: Iterable[ModelPrice], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["models"].choices = [(price.name, priced_name(price)) for price in prices]  # type: ignore[attr-defined]  # a ChoiceField


class KeyForm(forms.Form):
    """Which key the access is for."""

    extends_key = forms.ChoiceField(
        label="Which key should call them?",
        help_text="An approval adds the tier to a key that you have, or makes a new key.",
        widget=forms.RadioSelect,
        required=False,
        initial="",
        error_messages={"invalid_choice": "Choose one of your live keys of this project, or a new key"},
    )

    def __init__(self, *args: Any, keys: Iterable[ApiKey], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        mine = [(key.public_id, f"{key.name}, {key.masked}") for key in keys]
        self.fields["extends_key"].choices = [("", "A new key"), *mine]  # type: ignore[attr-defined]  # a ChoiceField


class ReasonForm(forms.Form):
    """Why a cheaper tier will not do."""

    reason = ReasonField(
        label="Why do you need it?",
        help_text="What it is for, and what cheaper models do not do well enough. The approver reads it.",
        missing="Enter why you need it",
        max_length=MAX_REASON_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 5}),
    )

    def __init__(self, *args: Any, terms: Policy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        least = terms.min_reason_characters
        self.fields["reason"].validators.append(MinLengthValidator(least))
        if terms.needs_ticket:
            self.fields["ticket"] = ticket_field(needed=True)


class CostForm(forms.Form):
    """For how long, and at what cost a month."""

    duration_days = DaysField(label="For how many days?")
    expected_monthly_usd = UsdField(
        label="What will it cost a month?", missing="Enter the US dollars that you expect to spend in a month"
    )

    def __init__(self, *args: Any, terms: Policy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        days, cost = self.fields["duration_days"], self.fields["expected_monthly_usd"]
        days.help_text = f"At most {terms.max_days} for {terms.tier}; you can ask again."
        days.initial = terms.default_days
        most = terms.max_monthly_usd
        limit = f", at most {format_usd(most)}" if most is not None else ""
        cost.help_text = f"US dollars{limit}. Calls beyond it are refused until the next month."


def priced_name(price: ModelPrice) -> str:
    """Write a model with its prices, for a choice."""
    output = f", {format_usd(price.output_usd)} out" if price.output_usd is not None else ""
    return f"{price.name}: {format_usd(price.input_usd)} in{output} for 1M tokens"


class LastDayField(forms.DateField):
    """The last day of something, as the midnight after it in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            widget=forms.DateInput(attrs={"type": "date", "class": "short"}),
            error_messages={"invalid": "Enter the last day, such as 2026-12-31"},
            **kwargs,
        )

    def clean(self, value: Any) -> datetime | None:
        """Return the end of the day; None when none was entered."""
        day = super().clean(value)
        return None if day is None else datetime.combine(day + timedelta(days=1), time.min, tzinfo=UTC)


class IncreaseForm(forms.Form):
    """How much more of a budget, until when, and what for."""

    limit_usd = UsdField(
        label="What should the limit be, in US dollars?",
        help_text="The whole limit, not the difference.",
        missing="Enter the limit that you need, in US dollars",
    )
    until = LastDayField(
        label="Until when? (leave it empty for good)",
        help_text="The last day, included, in UTC. The limit then falls back by itself.",
    )
    reason = ReasonField(
        label="What is the money for?",
        help_text="Whoever decides reads it, and it stays in the history of the budget.",
        missing="Enter what the money is for",
    )


class AmendIncreaseForm(IncreaseForm):
    """What is asked for instead, of the revision that was read."""

    seen_revision = forms.IntegerField(widget=forms.HiddenInput)


class DecideIncreaseForm(forms.Form):
    """What whoever decides on more budget gives and says; left as it is, it is what was asked for."""

    seen_revision = forms.IntegerField(widget=forms.HiddenInput)
    limit_usd = UsdField(
        label="Limit", required=False, help_text="What was asked for, or less. Not more than that."
    )
    until = LastDayField(label="Until", help_text="The last day, included, in UTC. It may be an earlier one.")
    comment = ReasonField(
        label="Comment", required=False, help_text="The requester reads it. Needed to deny."
    )

    def __init__(self, *args: Any, ends: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not ends:
            del self.fields["until"]

    def offer(self) -> dict[str, Any]:
        """Return what a valid form says to the service: what was left as it is, is as asked for."""
        given = dict(self.cleaned_data)
        if self.data.get("until") == self.initial.get("until"):
            given.pop("until", None)  # the day that is shown may end after the moment that was asked for
        return given
