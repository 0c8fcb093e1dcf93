"""What a person enters to change a limit."""

from typing import Any

from django import forms

from core.forms import ReasonField, UsdField

MISSING = "Enter a limit in US dollars, or tick “No limit here”"


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


class ConfirmLimitForm(LimitForm):
    """The same again, with the consequences in sight."""

    confirm = forms.CharField(widget=forms.HiddenInput, initial="yes")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["limit_usd"].widget = forms.HiddenInput()
        self.fields["unlimited"].widget = forms.HiddenInput()
