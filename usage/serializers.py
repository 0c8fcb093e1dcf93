"""How usage and its reconciliation look in the API."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import Day, Moment, PublicId, QueryNumber, Text, Usd
from core.rest.serializers import NamedOut, Out, PageQuery, Query
from usage.models import Discrepancy, DiscrepancyClass, DiscrepancyState, ReconciliationRun, RunState
from usage.reasons import reason_of
from usage.selectors.blocked import BlockedLine

MAX_RUN_CHARACTERS = 51
MAX_CODE_CHARACTERS = 40


class LineProjectOut(Out):
    """The project of a line."""

    id = serializers.CharField(source="project_public_id")
    name = serializers.CharField(source="project_name")
    code = serializers.CharField(source="project_code")


class LineTeamOut(Out):
    """The team that a project belonged to when the line was written."""

    id = serializers.CharField(source="team_public_id")
    name = serializers.CharField(source="team_name")
    code = serializers.CharField(source="team_code")


class LineModelOut(Out):
    """The model of a line."""

    id = serializers.CharField(source="model_public_id")
    name = serializers.CharField(source="model_name")


class UsageDayOut(Out):
    """What a project used of a model on one of the organisation's days; tokens are inclusive totals."""

    day = Day()
    project = LineProjectOut(source="*")
    team = LineTeamOut(source="*")
    model = LineModelOut(source="*")
    tier = serializers.IntegerField(source="tier_number")
    calls = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    cost_usd = Usd()


class BlockedKeyOut(Out):
    """The key of refused calls."""

    id = serializers.CharField(source="key_public_id")
    name = serializers.CharField(source="key_name")
    owner = serializers.CharField(source="key_owner")


class BlockedCallsOut(Out):
    """Calls of one key that were refused for one reason in the hour that starts at `since`."""

    since = Moment()
    key = BlockedKeyOut(source="*")
    project = LineProjectOut(source="*")
    team = LineTeamOut(source="*")
    code = serializers.CharField(help_text="The code that the caller was told.")
    reason = serializers.SerializerMethodField()
    to_do = serializers.SerializerMethodField()
    calls = serializers.IntegerField()
    last_at = Moment()

    def get_reason(self, line: BlockedLine) -> str:
        """What happened, for people."""
        return reason_of(line.code).happened

    def get_to_do(self, line: BlockedLine) -> str:
        """What somebody can do about it."""
        return reason_of(line.code).to_do


class ReconciliationRunOut(Out):
    """Portal against gateway for one UTC day and source."""

    id = serializers.SerializerMethodField()
    day = Day()
    source = serializers.CharField(help_text="The id of the gateway.")  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    state = serializers.ChoiceField(RunState.choices)
    portal_calls = serializers.IntegerField()
    gateway_calls = serializers.IntegerField()
    portal_input_tokens = serializers.IntegerField()
    gateway_input_tokens = serializers.IntegerField()
    portal_output_tokens = serializers.IntegerField()
    gateway_output_tokens = serializers.IntegerField()
    portal_cost_usd = Usd()
    drift_usd = Usd()
    runs = serializers.IntegerField(help_text="How often the day was compared.")
    first_run_at = Moment()
    last_run_at = Moment()

    def get_id(self, run: ReconciliationRun) -> str:
        """The day and the source."""
        return run_id(run)


class DiscrepancyOut(Out):
    """One call on which portal and gateway differ."""

    id = serializers.CharField(source="public_id")
    run = serializers.SerializerMethodField()
    kind = serializers.ChoiceField(DiscrepancyClass.choices)
    call = serializers.CharField(source="external_id")
    detail = serializers.DictField(help_text="The figures of either side.")
    amount_usd = Usd()
    state = serializers.ChoiceField(DiscrepancyState.choices)
    owner = NamedOut(allow_null=True)
    note = serializers.CharField()
    opened_at = Moment()
    closed_at = Moment(allow_null=True)

    def get_run(self, discrepancy: Discrepancy) -> str:
        """The id of the run."""
        return run_id(discrepancy.run)


MONTH = r"^[12][0-9]{3}-(0[1-9]|1[0-2])$"


class UsageDayQuery(PageQuery):
    """Which days and whose; this month unless said otherwise, a year at most."""

    project = PublicId("prj", required=False)
    team = PublicId("tem", required=False)
    model = PublicId("mdl", required=False)
    tier = QueryNumber(required=False, min_value=1, max_value=9)
    to = Day(required=False, help_text="The last day, included.")

    def get_fields(self) -> dict[str, Any]:
        """Add the parameter whose name is a word of Python."""
        return {**super().get_fields(), "from": Day(required=False, help_text="The first day, included.")}


class FocusQuery(Query):
    """Which month; this one unless said otherwise."""

    month = serializers.RegexField(MONTH, required=False, help_text="Such as 2026-11.")


class BlockedCallsQuery(PageQuery):
    """Which refused calls; the last seven days unless said otherwise, a year at most."""

    code = Text(required=False, max_length=MAX_CODE_CHARACTERS)
    project = PublicId("prj", required=False)
    to = Day(required=False, help_text="The last day, included.")

    def get_fields(self) -> dict[str, Any]:
        """Add the parameter whose name is a word of Python."""
        return {**super().get_fields(), "from": Day(required=False, help_text="The first day, included.")}


class ReconciliationRunQuery(PageQuery):
    """Which runs to list."""

    state = serializers.ChoiceField(RunState.choices, required=False)


class DiscrepancyQuery(PageQuery):
    """Which discrepancies to list."""

    run = Text(required=False, max_length=MAX_RUN_CHARACTERS)
    kind = serializers.ChoiceField(DiscrepancyClass.choices, required=False)
    state = serializers.ChoiceField(DiscrepancyState.choices, required=False)


def run_id(run: ReconciliationRun) -> str:
    """Return the public id of a run: its day and its source, which no other run shares."""
    return f"{run.day.isoformat()}.{run.source}"
