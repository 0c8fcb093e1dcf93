"""How forms look, and fields that read money and reasons as the whole product does."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.renderers import TemplatesSetting

from core.errors import InvalidInputError
from core.money import parse_usd
from core.reasons import LONGEST, MOST_CHARACTERS

LENGTH_MESSAGES = {
    "min_length": "Write more: at least %(limit_value)d characters, and there are %(show_value)d",
    "max_length": "Write less: at most %(limit_value)d characters, and there are %(show_value)d",
}
AMOUNT_ATTRIBUTES = {"inputmode": "decimal", "autocomplete": "off", "class": "short"}


class FieldRenderer(TemplatesSetting):
    """Label, hint, error, control, in this order; the error is tied to its control for screen readers."""

    form_template_name = "components/form.html"
    field_template_name = "components/field.html"


class UsdField(forms.CharField):
    """An amount of US dollars as a person types it, cleaned to Decimal; None when empty and not required."""

    def __init__(self, *, missing: str = "Enter an amount in US dollars", **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.TextInput(attrs=AMOUNT_ATTRIBUTES))
        super().__init__(max_length=40, error_messages={"required": missing}, **kwargs)

    def clean(self, value: Any) -> Decimal | None:
        """Return the amount. Raises ValidationError that says what to enter instead."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_usd(text)
        except InvalidInputError as error:
            raise ValidationError(error.detail, code=error.code) from error


class ReasonField(forms.CharField):
    """A sentence that is kept with a decision; `missing` says what to enter when it is empty."""

    def __init__(self, *, missing: str = "Enter a reason", **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 3}))
        kwargs.setdefault("max_length", LONGEST)
        super().__init__(error_messages={"required": missing, **LENGTH_MESSAGES}, **kwargs)


class ReasonForm(forms.Form):
    """Why something is done, kept beside what was done."""

    reason = ReasonField(label="Reason", max_length=MOST_CHARACTERS)
