"""What is entered to change a request, to ask for more time, or to break the glass."""

from collections.abc import Iterable
from typing import Any

from django import forms

from approvals.facts import ModelPrice
from approvals.forms.asking import DaysField, priced_name, ticket_field
from approvals.models import Policy
from approvals.services.asking import MAX_REASON_CHARACTERS, MIN_REASON_CHARACTERS
from approvals.services.extending import usual_days
from core.forms import ReasonField, UsdField
from core.money import format_usd
from core.words import counted
from keys.models import Grant
from teams.models import Project


class AmendForm(forms.Form):
    """What a pending request asks for."""

    seen_revision = forms.IntegerField(widget=forms.HiddenInput)
    models = forms.MultipleChoiceField(
        label="Models",
        help_text="None chosen means every model of the tier.",
        widget=forms.CheckboxSelectMultiple,
        required=False,
        error_messages={"invalid_choice": "%(value)s is not a model of this tier: choose from the list"},
    )
    reason = ReasonField(
        label="Why do you need it?", missing="Enter why you need it", max_length=MAX_REASON_CHARACTERS
    )
    duration_days = DaysField(label="For how many days?")
    expected_monthly_usd = UsdField(
        label="What will it cost a month?", missing="Enter the US dollars that you expect to spend in a month"
    )

    def __init__(self, *args: Any, terms: Policy, prices: Iterable[ModelPrice], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(price.name, priced_name(price)) for price in prices]
        if choices:
            self.fields["models"].choices = choices  # type: ignore[attr-defined]  # a ChoiceField
        else:
            del self.fields["models"]
        self.fields["ticket"] = ticket_field(needed=terms.needs_ticket)
        self.fields["duration_days"].help_text = f"At most {terms.max_days} for {terms.tier}."
        self.fields["expected_monthly_usd"].help_text = "US dollars. Calls beyond it are refused."


class ExtendForm(forms.Form):
    """For how much longer, and why."""

    duration_days = DaysField(label="For how many more days?")
    expected_monthly_usd = UsdField(
        label="What will it cost a month?", missing="Enter the US dollars that you expect to spend in a month"
    )
    reason = ReasonField(
        label="Why do you still need it?",
        missing="Enter why you still need it",
        max_length=MAX_REASON_CHARACTERS,
    )

    def __init__(self, *args: Any, terms: Policy, grant: Grant, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cap_usd = grant.monthly_cap_usd
        self.fields["ticket"] = ticket_field(needed=terms.needs_ticket)
        days, cost = self.fields["duration_days"], self.fields["expected_monthly_usd"]
        days.help_text, days.initial = f"At most {terms.max_days} for {terms.tier}.", usual_days(grant, terms)
        cost.help_text = "US dollars. It becomes the cap when the extension begins."
        cost.initial = None if cap_usd is None else f"{cap_usd.normalize():f}"


class BreakGlassForm(forms.Form):
    """Where the emergency is, and what it is."""

    project = forms.ChoiceField(
        label="Which project is it for?",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose the project that the calls are for",
            "invalid_choice": "Choose one of your open projects",
        },
    )
    tier = forms.ChoiceField(
        label="Which tier do you need now?",
        widget=forms.RadioSelect,
        error_messages={"required": "Choose a tier", "invalid_choice": "Choose one of these tiers"},
    )
    reason = ReasonField(
        label="What is the emergency?",
        help_text="Everybody who is told reads it.",
        missing="Enter what the emergency is",
        min_length=MIN_REASON_CHARACTERS,
        max_length=MAX_REASON_CHARACTERS,
    )

    def __init__(
        self, *args: Any, projects: Iterable[Project], policies: Iterable[Policy], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        rules = list(policies)
        self.fields["ticket"] = ticket_field(needed=any(terms.needs_ticket for terms in rules))
        self.fields["project"].choices = [(each.code, each.name) for each in projects]  # type: ignore[attr-defined]  # a ChoiceField
        self.fields["tier"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            (
                str(terms.tier_id),
                f"{terms.tier}: {counted(terms.break_glass_hours, 'hour')}, {_up_to(terms)}",
            )
            for terms in rules
        ]


def _up_to(terms: Policy) -> str:
    return f"up to {format_usd(terms.break_glass_cap_usd)}"
