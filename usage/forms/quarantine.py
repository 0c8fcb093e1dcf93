"""What an administrator enters about a row that could not be booked. Rules stand in the services."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from core.forms import ReasonField
from usage.models import Finish, Quarantine
from usage.tokens import MAX_TOKENS, TOKEN_FIELDS

MOMENT_MISSING = "Enter a moment with its offset, such as 2026-11-23T12:00:00Z"
LABELS = {
    "input_tokens": "Input tokens",
    "cached_tokens": "Of these, read from a cache",
    "cache_write_tokens": "Of these, written to a cache",
    "output_tokens": "Output tokens",
    "reasoning_tokens": "Of these, reasoning",
}
MAX_RESOLUTION = Quarantine._meta.get_field("resolution").max_length  # noqa: SLF001  Django's public name for it
MAX_ID = Quarantine._meta.get_field("external_id").max_length  # noqa: SLF001  as above


class MomentField(forms.CharField):
    """A moment as it is written in a gateway's log, in UTC when cleaned."""

    def clean(self, value: Any) -> datetime:
        """Return the moment. Raises ValidationError for text that is none, or one without its offset."""
        text = super().clean(value)
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValidationError(MOMENT_MISSING, code="invalid") from error
        if at.tzinfo is None:
            raise ValidationError(MOMENT_MISSING, code="invalid")
        return at.astimezone(UTC)


class AssignForm(forms.Form):
    """The call that a row should have told of, and how one knows."""

    external_id = forms.CharField(
        label="Id of the call",
        help_text="What the gateway calls it. The same id is booked once, however often it is told.",
        max_length=MAX_ID,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter the id of the call"},
    )
    at = MomentField(
        label="When it was made",
        help_text="With its offset, such as 2026-11-23T12:00:00Z. It decides prices, budgets and windows.",
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": MOMENT_MISSING},
    )
    key = forms.CharField(
        label="Key",
        help_text="The id of the key, such as key_…, from its page. Its project pays.",
        max_length=32,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Enter the id of the key that made the call"},
    )
    model = forms.ChoiceField(
        label="Model that served",
        error_messages={"required": "Choose a model", "invalid_choice": "Choose a model"},
    )
    finish = forms.ChoiceField(label="How it ended", choices=Finish.choices)
    reason = ReasonField(
        label="How do you know?",
        help_text="A log, a bill, a mail. It is kept in the audit with your name.",
        max_length=MAX_RESOLUTION,
        missing="Enter how you know",
    )

    def __init__(self, *args: Any, models: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["model"].choices = [("", "Choose a model"), *((name, name) for name in models)]
        for name in TOKEN_FIELDS:
            fields[name] = forms.IntegerField(
                label=LABELS[name],
                min_value=0,
                max_value=MAX_TOKENS,
                widget=forms.TextInput(
                    attrs={"inputmode": "numeric", "autocomplete": "off", "class": "short"}
                ),
                error_messages={"required": "Enter a number, 0 for none", "invalid": "Enter a whole number"},
            )
        self.order_fields(["external_id", "at", "key", "model", *TOKEN_FIELDS, "finish", "reason"])

    def tokens(self) -> dict[str, int]:
        """Return the counts that were entered."""
        return {name: self.cleaned_data[name] for name in TOKEN_FIELDS}


class DismissForm(forms.Form):
    """Why a row is not booked."""

    reason = ReasonField(
        label="Why is it not booked?",
        help_text="It is kept in the audit with your name.",
        max_length=MAX_RESOLUTION,
        missing="Enter why it is not booked",
    )
