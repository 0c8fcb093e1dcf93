"""What an administrator enters to have past calls priced again."""

from datetime import datetime
from typing import Any

from django import forms

from catalog.models import LlmModel
from core.forms import ReasonField
from usage.selectors.periods import moments_of

DAY_MISSING = dict.fromkeys(("required", "invalid"), "Enter a day, such as 2026-11-23")
DAY_INPUT = {"type": "date", "class": "short"}


class RepricingForm(forms.Form):
    """Which calls, and why."""

    model = forms.ChoiceField(label="Model", error_messages={"required": "Choose a model"})
    first_day = forms.DateField(
        label="From the start of",
        widget=forms.DateInput(format="%Y-%m-%d", attrs=DAY_INPUT),
        error_messages=DAY_MISSING,
    )
    last_day = forms.DateField(
        label="Until the end of",
        widget=forms.DateInput(format="%Y-%m-%d", attrs=DAY_INPUT),
        error_messages=DAY_MISSING,
    )
    reason = ReasonField(
        label="Why", help_text="It stands in the ledger with every correction.", max_length=240
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.fields["model"]
        assert isinstance(chosen, forms.ChoiceField)
        names = LlmModel.objects.order_by("name").values_list("public_id", "name")
        chosen.choices = [("", "Choose a model"), *names]

    def period(self) -> tuple[datetime, datetime]:
        """Return the moments at which the chosen days begin and end."""
        return moments_of(self.cleaned_data["first_day"], self.cleaned_data["last_day"])


class WhyForm(forms.Form):
    """Why a repricing is rejected."""

    reason = ReasonField(label="Why", help_text="It is kept with your name.", max_length=240)
