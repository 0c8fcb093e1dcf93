"""How pricing the past again looks in the API."""

from rest_framework import serializers

from core.reasons import MOST_CHARACTERS
from core.rest.fields import Day, Moment, PublicId, Text, Usd
from core.rest.serializers import In, NamedOut, Out, PageQuery
from usage.models import RepricingState


class TeamSumOut(Out):
    """What changes for one team."""

    team = serializers.CharField(help_text="Its name when it was worked out.")
    calls = serializers.IntegerField()
    old_usd = Usd()
    new_usd = Usd()
    difference_usd = Usd()


class RepricingOut(Out):
    """The calls of a model in [starts_at, ends_at) that are charged otherwise by the prices dated to them."""

    id = serializers.CharField(source="public_id")
    model = NamedOut()
    starts_at = Moment()
    ends_at = Moment()
    reason = serializers.CharField()
    calls = serializers.IntegerField(help_text="Whose charge changes.")
    old_usd = Usd()
    new_usd = Usd()
    difference_usd = Usd(help_text="What is corrected in all; negative is given back.")
    teams = TeamSumOut(many=True, source="team_sums")
    state = serializers.ChoiceField(RepricingState.choices)
    proposed_by = NamedOut()
    proposed_at = Moment()
    decided_by = NamedOut(allow_null=True)
    decided_at = Moment(allow_null=True)
    answer = serializers.CharField(help_text="Why it was rejected.")
    booked_until = Moment(source="reached_at", help_text="Calls before it are corrected, once approved.")
    booked_calls = serializers.IntegerField()
    skipped_calls = serializers.IntegerField(help_text="Calls whose charge was not found.")
    booked_usd = Usd()
    done_at = Moment(allow_null=True)


class RepricingCreateIn(In):
    """Which calls are priced again, and why; the right price is entered before, with its first day."""

    model = PublicId("mdl")
    first_day = Day()
    last_day = Day(help_text="Included; 92 days at most.")
    reason = Text(max_length=MOST_CHARACTERS, help_text="It stands in the ledger with every correction.")


class RepricingRejectIn(In):
    """Why a repricing is rejected; kept with it."""

    reason = Text(max_length=MOST_CHARACTERS)


class RepricingQuery(PageQuery):
    """Which repricings to list."""

    state = serializers.ChoiceField(RepricingState.choices, required=False)
    model = PublicId("mdl", required=False)
