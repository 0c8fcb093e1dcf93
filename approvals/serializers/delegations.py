"""How delegations look in the API."""

from rest_framework import serializers

from approvals.services.delegating import MAX_REASON_CHARACTERS
from core.rest.fields import Moment, PublicId, Text
from core.rest.serializers import CodedOut, In, NamedOut, Out, PageQuery
from teams.models import Role


class DelegationOut(Out):
    """One person's role that another one holds for a time, in [valid_from, valid_until)."""

    id = serializers.CharField(source="public_id")
    giver = NamedOut()
    taker = NamedOut()
    role = serializers.ChoiceField(Role.choices)
    team = CodedOut(allow_null=True)
    department = CodedOut(allow_null=True)
    valid_from = Moment()
    valid_until = Moment()
    reason = serializers.CharField()
    created_at = Moment()
    ended_by = NamedOut(allow_null=True)


class DelegationQuery(PageQuery):
    """Which delegations to list."""

    over = serializers.ChoiceField(
        [("no", "No"), ("yes", "Yes")], required=False, help_text="Those that have ended, or that have not."
    )


class DelegationCreateIn(In):
    """A role of one's own, and who shall hold it too."""

    taker = Text(max_length=254, help_text="The e-mail address with which this person signs in.")
    role = serializers.ChoiceField(Role.choices, help_text="Lead, director or admin: those decide.")
    team = PublicId("tem", required=False, help_text="Where a lead decides.")
    department = PublicId("dep", required=False, help_text="Where a director decides.")
    valid_from = Moment(required=False, help_text="Now unless a later time is said.")
    valid_until = Moment(help_text="At most 30 days after it begins.")
    reason = Text(max_length=MAX_REASON_CHARACTERS, default="")
