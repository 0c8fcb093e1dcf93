"""How the access review looks in the API."""

from rest_framework import serializers

from approvals.services.reviewing import MAX_REASON_CHARACTERS
from core.rest.fields import Day, Moment, Text, Usd
from core.rest.serializers import In, NamedOut, Out


class UnusedGrantOut(Out):
    """Access of somebody else that is hardly used. `id` is that of the grant."""

    id = serializers.CharField(source="public_id")
    tier = serializers.IntegerField(source="tier_id")
    key = NamedOut()
    owner = NamedOut(source="key.owner")
    monthly_cap_usd = Usd(allow_null=True)
    starts_at = Moment()
    expires_at = Moment()
    recent_calls = serializers.IntegerField(help_text="With its key in its tier, in the last 30 days.")
    last_day = Day(allow_null=True, help_text="Of the last call ever.")


class GrantReviewIn(In):
    """Why it is kept or ended; left out, how much it was used."""

    reason = Text(max_length=MAX_REASON_CHARACTERS, default="")


class GrantReviewOut(Out):
    """That somebody kept or ended access."""

    grant = serializers.CharField(source="grant.public_id")
    keeps = serializers.BooleanField()
    reviewer = NamedOut()
    reason = serializers.CharField()
    at = Moment()
