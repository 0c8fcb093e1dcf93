"""What people enter about keys."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings

from core.forms import ReasonField, UsdField
from keys.scopes import SCOPES
from keys.services.common import MAX_NAME_CHARACTERS, MAX_REASON_CHARACTERS
from keys.services.issuing import DEFAULT_DAYS, MAX_DAYS
from keys.services.planning import LONGEST
from keys.services.rotating import DEFAULT_OVERLAP_HOURS
from keys.services.tokens import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS
from teams.models import Project

LIVES_DAYS = (30, 90, DEFAULT_DAYS, MAX_DAYS)
TOKEN_LIVES_DAYS = (7, 30, DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS)
OVERLAPS = {
    0: "no time: it ends at once",
    1: "1 hour",
    DEFAULT_OVERLAP_HOURS: "1 day",
    3 * 24: "3 days",
    7 * 24: "7 days",
}


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


class NewTokenForm(forms.Form):
    """A token of the management API for oneself."""

    name = forms.CharField(
        label="Name",
        help_text="The program that will use the token, such as “monthly report”.",
        max_length=MAX_NAME_CHARACTERS,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Enter a name, such as the program that will use the token",
            "max_length": f"Use at most {MAX_NAME_CHARACTERS} characters for the name",
        },
    )
    scopes = forms.MultipleChoiceField(
        label="Good for",
        help_text="Choose as little as the program needs. It can never do more than you can.",
        choices=list(SCOPES.items()),
        widget=forms.CheckboxSelectMultiple,
        error_messages={
            "required": "Choose what the token is good for",
            "invalid_choice": "Choose among what is offered",
        },
    )
    days = forms.TypedChoiceField(
        label="Expires after",
        choices=[(days, f"{days} days") for days in TOKEN_LIVES_DAYS],
        initial=DEFAULT_TOKEN_DAYS,
        coerce=int,
        error_messages={
            "required": "Choose when the token expires",
            "invalid_choice": "Choose one of the lengths",
        },
    )

    def __init__(self, *args: Any, owners: Mapping[str, str], **kwargs: Any) -> None:
        """Offer a choice of owners, by public id, where there is more than the person himself."""
        super().__init__(*args, **kwargs)
        if len(owners) > 1:
            self.fields["owner"] = forms.ChoiceField(
                label="For",
                choices=list(owners.items()),
                error_messages={"invalid_choice": "Choose yourself or a service that you answer for"},
            )


class NewServiceForm(forms.Form):
    """A program that is somebody of its own at the API."""

    name = forms.CharField(
        label="Name",
        help_text="What the program is, such as “cost report”.",
        max_length=MAX_NAME_CHARACTERS,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Enter a name, such as what the program is",
            "max_length": f"Use at most {MAX_NAME_CHARACTERS} characters for the name",
        },
    )
    responsible = forms.EmailField(
        label="Who answers for it",
        help_text="The e-mail address of a person, who makes and revokes its tokens.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Enter the e-mail address of a person",
            "invalid": "Enter an e-mail address such as ada@example.com",
        },
    )


class HandOverForm(forms.Form):
    """Who answers for a service from now on."""

    responsible = forms.EmailField(
        label="Who answers for it from now on",
        help_text="The e-mail address of a person who works here.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Enter the e-mail address of a person",
            "invalid": "Enter an e-mail address such as ada@example.com",
        },
    )


class RenameForm(forms.Form):
    """What a key is called from now on."""

    name = forms.CharField(
        label="Name",
        help_text="What is past keeps the name that it had.",
        max_length=MAX_NAME_CHARACTERS,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={
            "required": "Enter a name, such as where the key is used",
            "max_length": f"Use at most {MAX_NAME_CHARACTERS} characters for the name",
        },
    )


class RotateForm(forms.Form):
    """How long the present secret goes on once the new one was shown."""

    overlap_hours = forms.TypedChoiceField(
        label="The present secret then goes on for",
        choices=list(OVERLAPS.items()),
        initial=DEFAULT_OVERLAP_HOURS,
        coerce=int,
        error_messages={
            "required": "Choose how long the present secret goes on",
            "invalid_choice": "Choose one of the lengths",
        },
    )


class ShrinkForm(forms.Form):
    """What is left of a grant; an empty field leaves it as it is."""

    days = forms.IntegerField(
        label="Ends in how many days?",
        help_text="Leave it empty to keep its end.",
        min_value=1,
        max_value=MAX_DAYS,
        required=False,
        widget=forms.NumberInput(attrs={"class": "short", "autocomplete": "off"}),
    )
    monthly_cap_usd = UsdField(
        label="Most a month, in US dollars", help_text="Leave it empty to keep its cap.", required=False
    )
    models = forms.MultipleChoiceField(
        label="Models",
        help_text="Take away those that are not needed.",
        widget=forms.CheckboxSelectMultiple,
        error_messages={
            "required": "Leave one model at least. To end the access, revoke it.",
            "invalid_choice": "Choose among the models that are granted",
        },
    )
    reason = ReasonField(
        label="Why?",
        help_text="Kept in the audit. The owner of the key will read it.",
        missing="Enter why the access gets less",
        max_length=MAX_REASON_CHARACTERS,
    )

    def __init__(self, *args: Any, models: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["models"]
        field.choices = list(models.items())  # type: ignore[attr-defined]  # a MultipleChoiceField
        field.initial = list(models)


class EndGrantForm(forms.Form):
    """Why a grant ends."""

    reason = ReasonField(
        label="Why?",
        help_text="Kept in the audit. The owner of the key will read it.",
        missing="Enter why the access ends",
        max_length=MAX_REASON_CHARACTERS,
    )


class SuspendForm(forms.Form):
    """Why a key is stopped for a time."""

    reason = ReasonField(
        label="Why?",
        help_text="Told to whoever calls with it, and kept in the audit.",
        missing="Enter why you suspend the key",
        max_length=MAX_REASON_CHARACTERS,
    )


class PlanForm(forms.Form):
    """Activity that would look like a runaway; without a start it starts now."""

    starts_at = forms.DateTimeField(
        label="Starts",
        help_text=f"In the time zone {settings.TIME_ZONE}. Leave it empty to start now.",
        required=False,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput(
            format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local", "class": "short"}
        ),
        error_messages={"invalid": "Enter a day and a time such as 2026-12-01 18:00"},
    )
    hours = forms.IntegerField(
        label="Lasts how many hours?",
        min_value=1,
        max_value=LONGEST // timedelta(hours=1),
        widget=forms.NumberInput(attrs={"class": "short", "autocomplete": "off"}),
        error_messages={"required": "Enter how many hours it lasts"},
    )
    most_usd_an_hour = UsdField(
        label="Most within an hour, in US dollars",
        help_text="The key is suspended when it spends more.",
        missing="Enter the most that it will spend within an hour",
    )
    reason = ReasonField(
        label="What for?",
        help_text="Kept in the audit. The owner of the key will read it.",
        missing="Enter what the activity is for",
        max_length=MAX_REASON_CHARACTERS,
    )


class RevokeForm(forms.Form):
    """Why a key ends."""

    reason = ReasonField(
        label="Why?",
        help_text="Kept with the key and in the audit. Its owner will read it.",
        missing="Enter why you revoke the key",
        max_length=MAX_REASON_CHARACTERS,
    )
