"""How stops of keys and planned activity look in the API."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import Moment, PublicId, Text, Usd
from core.rest.serializers import In, NamedOut, Out
from keys.models import SuspensionCause
from keys.serializers import MAX_TEXT_CHARACTERS


class SuspensionOut(Out):
    """A time in which a key was refused; open without `resumed_at`. Nobody but Purser means the breaker."""

    id = serializers.CharField(source="public_id")
    key = NamedOut()
    cause = serializers.ChoiceField(SuspensionCause.choices)
    reason = serializers.CharField()
    evidence: Any = serializers.DictField(
        help_text="What the breaker saw: US dollars as texts, and the minutes of the hour before."
    )
    suspended_at = Moment()
    suspended_by = NamedOut(allow_null=True)
    resumed_at = Moment(allow_null=True)
    resumed_by = NamedOut(allow_null=True)
    resumed_reason = serializers.CharField()


class PlannedActivityOut(Out):
    """A time in which a key may spend faster than it is used to."""

    id = serializers.CharField(source="public_id")
    key = NamedOut()
    starts_at = Moment()
    ends_at = Moment()
    most_usd_an_hour = Usd(help_text="Within any hour of it.")
    reason = serializers.CharField()
    planned_at = Moment()
    planned_by = NamedOut()
    cancelled_at = Moment(allow_null=True)
    cancelled_by = NamedOut(allow_null=True)


class PlanIn(In):
    """Activity that would look like a runaway, of a week at most."""

    key = PublicId("key")
    starts_at = Moment()
    ends_at = Moment()
    most_usd_an_hour = Usd()
    reason = Text(max_length=MAX_TEXT_CHARACTERS)
