"""How budgets and their limits look in the API. A limit of null is no limit."""

import re
from decimal import Decimal
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, extend_schema_field
from rest_framework import serializers

from budgets.models import (
    HIGHEST_PERCENT,
    MOST_PERCENTS,
    AlertKind,
    Allocation,
    Budget,
    LimitKind,
    Mode,
    RateLimit,
    RollOver,
    ScopeKind,
    Window,
)
from budgets.scopes import Scopes
from budgets.types import BudgetRow, LimitRow, LimitState
from core.rest.fields import Day, Flag, Moment, PublicId, Text, Usd, WholeNumber
from core.rest.serializers import In, Out, PageQuery, Query

MAX_REASON_CHARACTERS = 240
MAX_RATE, MAX_TOKEN_RATE = 2**31 - 1, 2**53
ANCHOR_HELP = "First weekday of a week (1 is Monday), first month of a fiscal year; else 1."
ALLOCATION_HELP = "How much of the limit the budgets below may have, added up."
ROLL_OVER_HELP = "What a window passes on to the next."
PERCENTS_HELP = "Shares of the limit, in per cent, at which the people in charge are told."
RATIO_PATTERN = r"^[1-9][0-9]{0,2}(\.[0-9]{1,2})?$"
RATIO_HELP = "How many times the limit the budgets below may have; only for overcommit."


class Ratio(serializers.Field[Decimal, Any, str, Any]):
    """A ratio as a string, from 1 on with up to two decimals, so that no float comes between."""

    default_error_messages = {"invalid": 'Enter a ratio as a string such as "1.5", from 1 on.'}

    def to_internal_value(self, data: object) -> Decimal:
        """Return the ratio. Raises ValidationError for anything else."""
        if not isinstance(data, str) or not re.fullmatch(RATIO_PATTERN, data):
            self.fail("invalid")
        return Decimal(data)


class RatioSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # carries no types
    """Describes a ratio."""

    target_class = Ratio

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        """Describe the field."""
        return {"type": "string", "pattern": RATIO_PATTERN, "examples": ["1.50"]}


class ScopeOut(Out):
    """What a budget limits; the organisation has no id."""

    kind = serializers.ChoiceField(ScopeKind.choices)
    id = serializers.CharField(allow_null=True)
    name = serializers.CharField()


class BudgetOut(Out):
    """A budget in its current window; `left_usd` is negative after an overrun or a lowered limit."""

    id = serializers.CharField(source="public_id")
    scope = serializers.SerializerMethodField()
    window = serializers.ChoiceField(Window.choices)
    window_anchor = serializers.IntegerField(help_text=ANCHOR_HELP)
    time_zone = serializers.CharField()
    mode = serializers.ChoiceField(Mode.choices, help_text="What happens at the limit.")
    allocation = serializers.ChoiceField(Allocation.choices, help_text=ALLOCATION_HELP)
    overcommit_ratio = serializers.DecimalField(max_digits=5, decimal_places=2)
    roll_over = serializers.ChoiceField(RollOver.choices, help_text=ROLL_OVER_HELP)
    alert_percents = serializers.ListField(child=serializers.IntegerField(), help_text=PERCENTS_HELP)
    only = serializers.CharField(help_text="The tier or model whose calls alone count; empty for all calls.")
    limit_usd = Usd(allow_null=True)
    spent_usd = Usd()
    held_usd = Usd(help_text="Set aside for calls in flight.")
    left_usd = Usd(allow_null=True)
    window_starts_at = Moment()
    window_ends_at = Moment()
    resets_at = Moment(allow_null=True)
    in_force_since = Moment(allow_null=True)
    set_by = serializers.CharField()
    reason = serializers.CharField()

    @extend_schema_field(ScopeOut)
    def get_scope(self, row: BudgetRow) -> dict[str, str | None]:
        """Return what the budget limits, by its public id."""
        scopes: Scopes = self.context["scopes"]
        named = scopes[row.scope_kind, row.scope_id]
        return {"kind": row.scope_kind.value, "id": named.public_id, "name": named.name}


class LimitOut(Out):
    """One limit of a budget; a base limit lasts until the next one, a top-up until its end."""

    kind = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()
    amount_usd = Usd(allow_null=True)
    in_force_since = Moment(help_text="To come, if it is planned.")
    until = Moment(allow_null=True)
    set_by = serializers.CharField(source="actor")
    reason = serializers.CharField()
    recorded_at = Moment()

    @extend_schema_field(serializers.ChoiceField(LimitKind.choices))
    def get_kind(self, row: LimitRow) -> str:
        """Return which of the two it is."""
        return LimitKind.TOP_UP.value if row.kind else LimitKind.BASE.value

    @extend_schema_field(serializers.ChoiceField([state.value for state in LimitState]))
    def get_state(self, row: LimitRow) -> str:
        """Return where it stands in time."""
        return row.state.value


class LimitsOut(Out):
    """Every limit that a budget has had, has and is planned to have, the latest first."""

    limit_usd = Usd(allow_null=True, help_text="In force at `at`, as known at `known`; null is no limit.")
    results = LimitOut(many=True)


class LimitsQuery(Query):
    """When to look at the limits of a budget, and by what knowledge."""

    at = Moment(required=False, help_text="States are those at this moment; now unless given.")
    known = Moment(required=False, help_text="Only what was recorded until this moment; now unless given.")


class BudgetQuery(PageQuery):
    """Which budgets to list."""

    scope = serializers.ChoiceField(ScopeKind.choices, required=False)
    window = serializers.ChoiceField(Window.choices, required=False)
    project = PublicId("prj", required=False, help_text="That of this project itself.")
    team = PublicId("tem", required=False, help_text="That of this team itself.")


class ScopeIn(In):
    """What a budget or a rate limits, by its public id."""

    kind = serializers.ChoiceField(ScopeKind.choices)
    id = Text(max_length=32, allow_null=True, default=None, help_text="The organisation has none.")


class RulesIn(In):
    """What happens at a limit and how it is shared, in force on the next call."""

    mode = serializers.ChoiceField(Mode.choices, help_text="What happens at the limit.")
    allocation = serializers.ChoiceField(
        Allocation.choices, default=Allocation.POOL.value, help_text=ALLOCATION_HELP
    )
    overcommit_ratio = Ratio(default=Decimal(1), help_text=RATIO_HELP)
    roll_over = serializers.ChoiceField(
        RollOver.choices, default=RollOver.NONE.value, help_text=ROLL_OVER_HELP
    )
    alert_percents = serializers.ListField(
        child=WholeNumber(min_value=1, max_value=HIGHEST_PERCENT),
        min_length=1,
        max_length=MOST_PERCENTS,
        allow_null=True,
        default=None,
        help_text=f"{PERCENTS_HELP} Left out they stay as they are; of a new budget they are 50, 80 and 100.",
    )
    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the audit.")


class RulesChangeIn(RulesIn):
    """Other rules of a budget: all of them, as they shall be."""

    confirm = Flag(default=False, help_text="Set them although calls will be refused at once.")


class BudgetOpenIn(RulesIn):
    """A new budget with its first limit."""

    scope = ScopeIn()
    window = serializers.ChoiceField(Window.choices)
    window_anchor = WholeNumber(min_value=1, max_value=12, default=1, help_text=ANCHOR_HELP)
    time_zone = Text(max_length=64, default="UTC", help_text="A name such as Europe/Berlin.")
    only_tier = WholeNumber(
        min_value=1,
        max_value=32_767,
        allow_null=True,
        default=None,
        help_text="Calls of this tier alone count.",
    )
    only_model = PublicId("mdl", allow_null=True, default=None, help_text="Calls of this model alone count.")
    amount_usd = Usd(
        allow_null=True, help_text="US dollars a window; null is no limit, 0 refuses every call."
    )


class LimitChangeIn(In):
    """A new limit, in force on the next call or from a moment to come."""

    amount_usd = Usd(
        allow_null=True, help_text="US dollars a window; null is no limit, 0 refuses every call."
    )
    valid_from = Moment(
        allow_null=True, default=None, help_text="A moment to come, for a plan; else the next call."
    )
    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the history of the budget.")
    confirm = Flag(default=False, help_text="Set it although calls will be refused at once.")


class PlanWithdrawIn(In):
    """A plan to take back."""

    valid_from = Moment(help_text="The moment that the limit is planned for.")
    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the history of the budget.")


class TopUpIn(In):
    """What is added to a limit for a while."""

    amount_usd = Usd(help_text="US dollars on top of the limit.")
    valid_until = Moment(help_text="When it ends.")
    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the history of the budget.")


class BudgetCloseIn(In):
    """Why a budget ends."""

    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the audit.")


class RateLimitOut(Out):
    """How fast a scope may call; null is no limit."""

    id = serializers.CharField(source="public_id")
    scope = serializers.SerializerMethodField()
    requests_per_minute = serializers.IntegerField(allow_null=True)
    tokens_per_minute = serializers.IntegerField(allow_null=True)
    parallel_calls = serializers.IntegerField(allow_null=True)

    @extend_schema_field(ScopeOut)
    def get_scope(self, row: RateLimit) -> dict[str, str | None]:
        """Return whose rate it is, by its public id."""
        scopes: Scopes = self.context["scopes"]
        named = scopes[ScopeKind(row.scope_kind), row.scope_id]
        return {"kind": row.scope_kind, "id": named.public_id, "name": named.name}


class AlertBudgetOut(Out):
    """The budget of an alert."""

    id = serializers.CharField(source="public_id")
    scope = serializers.SerializerMethodField()
    window = serializers.ChoiceField(Window.choices)

    @extend_schema_field(ScopeOut)
    def get_scope(self, budget: Budget) -> dict[str, str | None]:
        """Return what the budget limits, by its public id."""
        scopes: Scopes = self.context["scopes"]
        named = scopes[ScopeKind(budget.scope_kind), budget.scope_id]
        return {"kind": budget.scope_kind, "id": named.public_id, "name": named.name}


class BudgetAlertOut(Out):
    """A share of its limit that a budget passed, once while that limit is in force; figures are of then."""

    id = serializers.CharField(source="public_id")
    budget = AlertBudgetOut()
    kind = serializers.ChoiceField(AlertKind.choices, help_text="What passed it: spend, or the forecast.")
    percent = serializers.IntegerField()
    is_told = serializers.BooleanField(
        help_text="Whether people were told of this share, and not of a higher one passed with it."
    )
    passed_at = Moment()
    limit_usd = Usd()
    spent_usd = Usd()
    held_usd = Usd(help_text="Set aside for calls in flight.")
    forecast_usd = Usd(allow_null=True, help_text="What the window was expected to come to.")
    passes_on = Day(allow_null=True, help_text="The day on which the limit was expected to be passed.")
    window_starts_at = Moment(source="window_start")
    window_ends_at = Moment(source="window_end")


class BudgetAlertQuery(PageQuery):
    """Which alerts to list."""

    budget = PublicId("bdg", required=False)
    kind = serializers.ChoiceField(AlertKind.choices, required=False)


class RateLimitQuery(PageQuery):
    """Which rate limits to list."""

    scope = serializers.ChoiceField([kind.value for kind in RateLimit.SCOPES], required=False)


class RateLimitSetIn(In):
    """How fast a key, a project or a team may call: all three, as they shall be."""

    scope = ScopeIn()
    requests_per_minute = WholeNumber(min_value=1, max_value=MAX_RATE, allow_null=True, default=None)
    tokens_per_minute = WholeNumber(min_value=1, max_value=MAX_TOKEN_RATE, allow_null=True, default=None)
    parallel_calls = WholeNumber(min_value=1, max_value=MAX_RATE, allow_null=True, default=None)
    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the audit.")


class RateLimitRemoveIn(In):
    """Why a rate limit ends."""

    reason = Text(max_length=MAX_REASON_CHARACTERS, help_text="Kept in the audit.")
