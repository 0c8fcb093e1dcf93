"""What is entered to let somebody else decide."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from approvals.eligibility import LENDABLE
from core import clock
from teams.models import RoleAssignment, User

DAY = {"type": "date", "class": "short"}


def lendable(user: User) -> dict[str, RoleAssignment]:
    """Return the roles that a person holds himself and may lend, by public id. One query."""
    held = RoleAssignment.objects.live().filter(user=user, user__is_active=True, role__in=LENDABLE)
    return {each.public_id: each for each in held.select_related("team", "department").order_by("pk")}


class DelegateForm(forms.Form):
    """Who decides for the person, in which role, and for how long."""

    held = forms.ChoiceField(
        label="In which role?", error_messages={"invalid_choice": "Choose one of your own roles"}
    )
    taker = forms.EmailField(
        label="Who decides for you?",
        help_text="The e-mail address with which this person signs in.",
        error_messages={
            "required": "Enter the e-mail address of the person who decides for you",
            "invalid": "Enter an e-mail address, such as name@example.com",
        },
    )
    starts_on = forms.DateField(
        label="From (optional)",
        help_text="The first day, in UTC. Leave it empty to begin at once.",
        required=False,
        widget=forms.DateInput(attrs=DAY),
        error_messages={"invalid": "Enter the first day, such as 2026-12-21"},
    )
    ends_on = forms.DateField(
        label="Until",
        help_text="The last day, included, in UTC. At most 30 days.",
        widget=forms.DateInput(attrs=DAY),
        error_messages={
            "required": "Enter the last day",
            "invalid": "Enter the last day, such as 2026-12-31",
        },
    )
    reason = forms.CharField(label="Why (optional)", required=False, max_length=240)

    def __init__(self, *args: Any, held: Mapping[str, RoleAssignment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.roles = held
        self.fields["held"].choices = [(key, _name(role)) for key, role in held.items()]  # type: ignore[attr-defined]  # a ChoiceField

    def clean_taker(self) -> User:
        """Return the active person with this address."""
        found = User.objects.filter(email=self.cleaned_data["taker"].lower(), is_active=True).first()
        if found is None:
            raise ValidationError("Nobody here signs in with this address. Enter another one.")
        return found

    def clean(self) -> dict[str, Any]:
        """Return what the service takes: role, place, and the times of the days."""
        values = super().clean() or self.cleaned_data
        if self.errors:
            return values
        role, first, last = self.roles[values["held"]], values["starts_on"], values["ends_on"]
        return {
            "taker": values["taker"],
            "role": role.role,
            "team": role.team,
            "department": role.department,
            "valid_from": _midnight(first) if first else clock.now(),
            "valid_until": _midnight(last + timedelta(days=1)),
            "reason": values["reason"],
        }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


def _name(role: RoleAssignment) -> str:
    place = role.team or role.department
    return f"{role.get_role_display()}{f' of {place}' if place else ''}"
