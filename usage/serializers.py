"""How usage and its reconciliation look in the API."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.rest.fields import MONTH_PATTERN, Day, Moment, PublicId, QueryNumber, Text, Usd
from core.rest.serializers import CodedOut, NamedOut, Out, PageQuery, Query
from usage.models import (
    Discrepancy,
    DiscrepancyClass,
    DiscrepancyState,
    Level,
    PeriodState,
    Quarantine,
    QuarantineOutcome,
    QuarantineReason,
    ReconciliationRun,
    RunState,
)
from usage.reasons import reason_of
from usage.redaction import redacted, redacted_text
from usage.selectors.blocked import BlockedLine
from usage.selectors.quarantine import OPEN

MAX_RUN_CHARACTERS = 53
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


class SpendWarningOut(Out):
    """A project that spends more than it usually does at these hours of the week: once a day."""

    id = serializers.CharField(source="public_id")
    project = CodedOut()
    day = Day(help_text="The organisation's day.")
    since = Moment(help_text="From when on it was above its usual without a break.")
    warned_at = Moment()
    spent_usd = Usd(help_text="What it cost since then.")
    usual_usd = Usd(help_text="What that time usually costs.")
    usd_per_hour = Usd()
    usual_usd_per_hour = Usd()


class SpendWarningQuery(PageQuery):
    """Which warnings to list."""

    project = PublicId("prj", required=False)


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


class BlockedBudgetOut(Out):
    """The budget that refused, as the caller was told: whose it is and its window, without figures."""

    id = serializers.CharField(source="budget_public_id")
    scope = serializers.CharField(source="budget_scope")
    window = serializers.CharField(source="budget_window")
    name = serializers.CharField(source="cause_name")


class BlockedRateOut(Out):
    """The rate limit that refused, and whose it is."""

    scope = serializers.CharField(source="rate_scope")
    limit = serializers.CharField(source="rate_limit")
    name = serializers.CharField(source="cause_name")


class BlockedCallsOut(Out):
    """Calls of one key that were refused by one thing in the hour that starts at `since`."""

    since = Moment()
    key = BlockedKeyOut(source="*")
    project = LineProjectOut(source="*")
    team = LineTeamOut(source="*")
    code = serializers.CharField(help_text="The code that the caller was told, or why the key is not valid.")
    reason = serializers.SerializerMethodField()
    to_do = serializers.SerializerMethodField()
    budget = serializers.SerializerMethodField()
    rate = serializers.SerializerMethodField()
    calls = serializers.IntegerField()
    last_at = Moment()

    @extend_schema_field(BlockedBudgetOut(allow_null=True))
    def get_budget(self, line: BlockedLine) -> dict[str, Any] | None:
        """The budget that refused, if one did."""
        return BlockedBudgetOut(line).data if line.budget_id else None

    @extend_schema_field(BlockedRateOut(allow_null=True))
    def get_rate(self, line: BlockedLine) -> dict[str, Any] | None:
        """The rate that refused, if one did."""
        return BlockedRateOut(line).data if line.rate_limit else None

    def get_reason(self, line: BlockedLine) -> str:
        """What happened, for people."""
        return reason_of(line.code).happened

    def get_to_do(self, line: BlockedLine) -> str:
        """What somebody can do about it."""
        return reason_of(line.code).to_do


class ReconciliationRunOut(Out):
    """The ledger against one source for one UTC day (or the period of a bill), at one level.

    At level 3 `provider_cost_usd` less `portal_cost_usd` is the sum of the five parts, exactly.
    """

    id = serializers.SerializerMethodField()
    day = Day()
    level = serializers.ChoiceField(Level.choices)
    period_end = Day(allow_null=True, help_text="The first day after the period of a bill.")
    source = serializers.CharField(help_text="The id of the gateway, the provider's account or the bill.")  # type: ignore[assignment]  # a declared field, which the metaclass takes away
    state = serializers.ChoiceField(RunState.choices)
    notice = serializers.CharField(help_text="Why the source could not be read.")
    provisional = serializers.BooleanField(help_text="The provider may still change its figures.")
    data_refreshed_at = Moment(allow_null=True)
    alone = serializers.BooleanField(
        help_text="The gateway keeps no record: only calls that came twice or cost nothing are looked for."
    )
    portal_calls = serializers.IntegerField()
    gateway_calls = serializers.IntegerField()
    portal_input_tokens = serializers.IntegerField()
    gateway_input_tokens = serializers.IntegerField()
    portal_output_tokens = serializers.IntegerField()
    gateway_output_tokens = serializers.IntegerField()
    portal_cost_usd = Usd()
    provider_cost_usd = Usd()
    elsewhere_usd = Usd()
    unknown_key_usd = Usd()
    volume_usd = Usd()
    price_usd = Usd()
    other_usd = Usd()
    drift_usd = Usd()
    runs = serializers.IntegerField(help_text="How often the day was compared.")
    first_run_at = Moment()
    last_run_at = Moment()

    def get_id(self, run: ReconciliationRun) -> str:
        """The day and the source, and the level above the first."""
        return run_id(run)


class DiscrepancyOut(Out):
    """One call, or one key and model of a day, on which two sides differ."""

    id = serializers.CharField(source="public_id")
    run = serializers.SerializerMethodField()
    kind = serializers.ChoiceField(DiscrepancyClass.choices)
    call = serializers.CharField(source="external_id", help_text="The call, or the key and model.")
    model = serializers.CharField(source="model_name")
    at = Moment(allow_null=True)
    detail = serializers.DictField(help_text="The figures of either side.")
    proposal = serializers.DictField(
        allow_null=True,
        help_text="The prices that the provider seems to charge, by unit, and where they are entered when"
        " they are confirmed: `context` and `tier_start`.",
    )
    amount_usd = Usd()
    state = serializers.ChoiceField(DiscrepancyState.choices)
    unconfirmed = serializers.BooleanField(
        help_text="The call is booked, and no gateway's record has it yet."
    )
    owner = NamedOut(allow_null=True)
    note = serializers.CharField()
    opened_at = Moment()
    closed_at = Moment(allow_null=True)

    def get_run(self, discrepancy: Discrepancy) -> str:
        """The id of the run."""
        return run_id(discrepancy.run)


class QuarantineOut(Out):
    """A row of a gateway that could not be booked."""

    id = serializers.CharField(source="public_id")
    source = serializers.CharField(help_text="The id of the gateway.")  # type: ignore[assignment]  # as above
    call = serializers.CharField(source="external_id", help_text="What the gateway calls it; may be empty.")
    reason = serializers.ChoiceField(QuarantineReason.choices)
    detail = serializers.SerializerMethodField()
    row = serializers.SerializerMethodField()
    seen_at = Moment()
    state = serializers.SerializerMethodField()
    resolved_at = Moment(allow_null=True)
    resolved_by = NamedOut(allow_null=True)
    resolution = serializers.CharField(help_text="Why it was booked or dismissed.")

    def get_detail(self, entry: Quarantine) -> str:
        """Why it could not be booked, in words."""
        return redacted_text(entry.detail)

    def get_row(self, entry: Quarantine) -> dict[str, Any]:
        """What the gateway told, as far as it can be read, without secrets."""
        row: dict[str, Any] = redacted(entry.row)
        return row

    def get_state(self, entry: Quarantine) -> str:
        """`open`, `booked` or `dismissed`."""
        return entry.outcome or OPEN


class PeriodOut(Out):
    """How far one month of the books is closed, and by whom."""

    id = serializers.CharField(source="public_id")
    month = Day(help_text="The first day of the month.")
    state = serializers.ChoiceField(PeriodState.choices)
    soft_closed_at = Moment(allow_null=True)
    soft_closed_by = NamedOut(allow_null=True)
    closed_at = Moment(allow_null=True)
    closed_by = NamedOut(allow_null=True)
    reopened_at = Moment(allow_null=True)
    reopened_by = NamedOut(allow_null=True)
    reason = serializers.CharField(help_text="Why it was reopened.")


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

    month = serializers.RegexField(MONTH_PATTERN, required=False, help_text="Such as 2026-11.")


class BlockedCallsQuery(PageQuery):
    """Which refused calls; the last seven days unless said otherwise, a year at most."""

    code = Text(required=False, max_length=MAX_CODE_CHARACTERS)
    project = PublicId("prj", required=False)
    budget = PublicId("bdg", required=False, help_text="The budget that refused.")
    to = Day(required=False, help_text="The last day, included.")

    def get_fields(self) -> dict[str, Any]:
        """Add the parameter whose name is a word of Python."""
        return {**super().get_fields(), "from": Day(required=False, help_text="The first day, included.")}


class ReconciliationRunQuery(PageQuery):
    """Which runs to list."""

    level = serializers.ChoiceField(Level.choices, required=False)
    state = serializers.ChoiceField(RunState.choices, required=False)


class DiscrepancyQuery(PageQuery):
    """Which discrepancies to list."""

    run = Text(required=False, max_length=MAX_RUN_CHARACTERS)
    kind = serializers.ChoiceField(DiscrepancyClass.choices, required=False)
    state = serializers.ChoiceField(DiscrepancyState.choices, required=False)


class QuarantineQuery(PageQuery):
    """Which rows to list; all unless said otherwise."""

    reason = serializers.ChoiceField(QuarantineReason.choices, required=False)
    source = Text(required=False, max_length=MAX_CODE_CHARACTERS)  # type: ignore[assignment]  # as above
    state = serializers.ChoiceField([(OPEN, "Open"), *QuarantineOutcome.choices], required=False)


def run_id(run: ReconciliationRun) -> str:
    """Return the public id of a run: its day, its source and a level above the first."""
    place = f"{run.day.isoformat()}.{run.source}"
    return place if run.level == Level.CALLS else f"{place}.{run.level}"
