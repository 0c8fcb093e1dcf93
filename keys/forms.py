"""What people enter about keys."""

from collections.abc import Iterable
from typing import Any

from django import forms

from core.forms import ReasonField
from keys.services.common import MAX_REASON_CHARACTERS
from keys.services.issuing import DEFAULT_DAYS, MAX_DAYS, MAX_NAME_CHARACTERS
from teams.models import Project

LIVES_DAYS = (30, 90, DEFAULT_DAYS, MAX_DAYS)


class NewKeyForm(forms.Form):
    """A Tier 1 key for one of the projects that the person works in."""

    name = forms.CharField(
        label="Name",
        help_text="Where the key will be used, such as “nightly batch”.",
        max_length=MAX_NAME_CHARACTERS,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Enter a name, such as where the key will be used",
            "max_length": f"Use at most {MAX_NAME_CHARACTERS} characters for the name",
        },
    )
    project = forms.ChoiceField(
        label="Project",
        help_text="The key can be used for this project alone.",
        error_messages={
            "required": "Choose a project",
            "invalid_choice": "Choose one of your open projects",
        },
    )
    days = forms.TypedChoiceField(
        label="Expires after",
        choices=[(days, f"{days} days") for days in LIVES_DAYS],
        initial=DEFAULT_DAYS,
        coerce=int,
        error_messages={
            "required": "Choose when the key expires",
            "invalid_choice": "Choose one of the lengths",
        },
    )

    def __init__(self, *args: Any, projects: Iterable[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].choices = [(project.code, project.name) for project in projects]  # type: ignore[attr-defined]  # a ChoiceField


class RevokeForm(forms.Form):
    """Why a key ends."""

    reason = ReasonField(
        label="Why?",
        help_text="Kept with the key and in the audit. Its owner will read it.",
        missing="Enter why you revoke the key",
        max_length=MAX_REASON_CHARACTERS,
    )
