"""Budgets and rate limits in the API: where they stand, and every change of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from budgets import selectors
from budgets.errors import NeedsConfirmationError
from budgets.models import Allocation, Budget, BudgetAlert, Mode, RateLimit, RollOver, ScopeKind, Window
from budgets.ports import KeyDirectory
from budgets.scopes import find_scope, scope_names
from budgets.serializers import (
    BudgetAlertOut,
    BudgetAlertQuery,
    BudgetCloseIn,
    BudgetOpenIn,
    BudgetOut,
    BudgetQuery,
    LimitChangeIn,
    LimitsOut,
    LimitsQuery,
    PlanWithdrawIn,
    RateLimitOut,
    RateLimitQuery,
    RateLimitRemoveIn,
    RateLimitSetIn,
    RulesChangeIn,
    TopUpIn,
)
from budgets.services import limits, rates, rules
from budgets.types import BudgetRow, Rate
from catalog.models import LlmModel, Tier
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import Query
from core.rest.views import NounViewSet, referred
from teams.models import Department, Project, Team


class BudgetViewSet(NounViewSet):
    """The open budgets of what the person may see, each in its current window."""

    noun = "budget"
    out = BudgetOut
    list_query = BudgetQuery
    lookup_value_regex = id_pattern("bdg")
    keys: ClassVar[KeyDirectory]

    def get_queryset(self) -> QuerySet[Budget]:
        """Return the budgets in scope."""
        return selectors.visible_budgets(self.actor, key_ids=self.keys.visible_ids(self.actor))

    def chosen(self, rows: QuerySet[Budget]) -> QuerySet[Budget]:
        """Narrow the list down to a kind of scope, a window, a project and a team."""
        found = self.narrowed(rows, scope="scope_kind", window="window")
        scopes: dict[ScopeKind, QuerySet[Any]] = {
            ScopeKind.PROJECT: Project.objects.all(),
            ScopeKind.TEAM: Team.objects.all(),
        }
        for kind, named in scopes.items():
            if kind.value in self.query:
                place = named.filter(public_id=self.query[kind.value])
                found = found.filter(scope_kind=kind, scope_id__in=place.values("pk"))
        return found

    def presented(self, rows: Sequence[Budget]) -> Sequence[BudgetRow]:
        """Return the rows of the Budgets page."""
        found = selectors.budget_rows(Budget.objects.filter(pk__in=[budget.pk for budget in rows]))
        by_id = {row.id: row for row in found}
        return [by_id[budget.pk] for budget in rows]

    def about(self, rows: Sequence[BudgetRow]) -> dict[str, Any]:
        """Return what the scopes are called."""
        return named_scopes(self, [(row.scope_kind, row.scope_id) for row in rows])

    @operation(takes=BudgetOpenIn, gives=BudgetOut, status=201, refuses=(409, 422))
    def create(self, request: Request) -> Response:
        """Open a budget, in force on the next call; it counts from then on."""
        wanted = self.body(BudgetOpenIn)
        scope, tier, model = wanted.pop("scope"), wanted.pop("only_tier"), wanted.pop("only_model")
        kind = ScopeKind(scope["kind"])
        scope_id = find_scope(self.actor, kind, scope["id"], find_key=self.keys.find)
        place = selectors.scope_place(kind, scope_id)
        tiers, models = Tier.objects.all(), LlmModel.objects.all()
        budget = limits.open_budget(
            actor=self.actor,
            scope_kind=kind,
            scope_id=scope_id,
            department=Department.objects.get(pk=place.department_id) if place.department_id else None,
            window=Window(wanted.pop("window")),
            only_tier=referred(tiers, field="only_tier", noun="tier", pk=tier) if tier else None,
            only_model=referred(models, field="only_model", noun="model", public_id=model) if model else None,
            **_rules(wanted),
        )
        return self.created(budget)

    def query_class(self) -> type[Query]:
        """Let the limits of a budget be asked for as they were."""
        return LimitsQuery if self.action == "limits" else super().query_class()

    @operation(gives=LimitsOut, reads=True, refuses=(404,), parameters=[LimitsQuery])
    @action(detail=True, methods=["get"])
    def limits(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """List every limit that a budget has had, has and is planned to have, the latest first.

        `at` and `known` ask what the limit was at a moment, as it was known at another.
        """
        history = selectors.limit_history(self.found(id).pk, **self.query)
        limit = selectors.limit_in_force(history)
        return Response(LimitsOut({"limit_usd": limit, "results": history}).data)

    @operation(takes=LimitChangeIn, gives=BudgetOut, refuses=(404, 409, 422))
    @limits.mapping.post
    def change_limit(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a budget another limit, in force on the next call, or from a moment to come.

        The same limit again changes nothing.
        """
        wanted = self.body(LimitChangeIn)
        return self.changed(id, partial(limits.change_limit, **wanted))

    @operation(takes=PlanWithdrawIn, gives=BudgetOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"], url_path="limits/withdraw")
    def withdraw_plan(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Take back the limit that is planned for a moment; the one from before goes on."""
        wanted = self.body(PlanWithdrawIn)
        return self.changed(id, partial(limits.withdraw_plan, **wanted))

    @operation(takes=TopUpIn, gives=BudgetOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"], url_path="top-ups")
    def top_up(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Add to a budget's limit for a while. The same again while it is valid changes nothing."""
        wanted = self.body(TopUpIn)
        return self.changed(id, partial(limits.top_up, **wanted))

    @operation(takes=RulesChangeIn, gives=BudgetOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"], url_path="rules")
    def set_rules(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a budget other rules, in force on the next call; roll-over from the next window on."""
        wanted = self.body(RulesChangeIn)
        return self.changed(id, partial(rules.set_rules, **_rules(wanted)))

    @operation(takes=BudgetCloseIn, gives=BudgetOut, refuses=(404, 409, 422))
    @action(detail=True, methods=["post"], url_path="close")
    def close(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """End a budget on the next call. What it spent stays in the books."""
        wanted = self.body(BudgetCloseIn)
        return self.changed(id, partial(rules.close_budget, **wanted))

    def changed(self, public_id: str, act: Callable[..., object]) -> Response:
        """Change a budget and return it; a refusal that needs confirmation names the keys."""
        budget = self.found(public_id)
        try:
            act(actor=self.actor, budget=budget)
        except NeedsConfirmationError as error:
            keys = self.keys.names(self.actor, error.key_ids).values()
            error.extra["keys"] = [{"id": key.public_id, "name": key.name} for key in keys]
            raise
        return self.answer(budget)


class RateLimitViewSet(NounViewSet):
    """How fast keys, projects and teams may call, of what the person may see."""

    noun = "rate limit"
    out = RateLimitOut
    list_query = RateLimitQuery
    lookup_value_regex = id_pattern("rtl")
    keys: ClassVar[KeyDirectory]

    def get_queryset(self) -> QuerySet[RateLimit]:
        """Return the rate limits in scope."""
        return selectors.visible_rate_limits(self.actor, key_ids=self.keys.visible_ids(self.actor))

    def chosen(self, rows: QuerySet[RateLimit]) -> QuerySet[RateLimit]:
        """Narrow the list down to a kind of scope."""
        return self.narrowed(rows, scope="scope_kind")

    def about(self, rows: Sequence[RateLimit]) -> dict[str, Any]:
        """Return what the scopes are called."""
        return named_scopes(self, [(ScopeKind(row.scope_kind), row.scope_id) for row in rows])

    @operation(takes=RateLimitSetIn, gives=RateLimitOut, refuses=(422,))
    def create(self, request: Request) -> Response:
        """Set how fast a scope may call, in force on the next call; what is left out is no limit."""
        wanted = self.body(RateLimitSetIn)
        scope, reason = wanted.pop("scope"), wanted.pop("reason")
        kind = ScopeKind(scope["kind"])
        scope_id = find_scope(self.actor, kind, scope["id"], find_key=self.keys.find)
        rate = Rate(**wanted)
        limit = rates.set_rate_limit(
            actor=self.actor, scope_kind=kind, scope_id=scope_id, rate=rate, reason=reason
        )
        return self.answer(limit)

    @operation(takes=RateLimitRemoveIn, gives=RateLimitOut, refuses=(404, 422))
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let the scope call as fast as it can, from the next call on."""
        wanted = self.body(RateLimitRemoveIn)
        return self.answer(rates.remove_rate_limit(actor=self.actor, limit=self.found(id), **wanted))


class BudgetAlertViewSet(NounViewSet):
    """Shares of their limits that budgets passed, of what the person may see, the latest first."""

    noun = "alert"
    out = BudgetAlertOut
    list_query = BudgetAlertQuery
    lookup_value_regex = id_pattern("alr")
    keys: ClassVar[KeyDirectory]

    def get_queryset(self) -> QuerySet[BudgetAlert]:
        """Return the alerts in scope."""
        visible = self.keys.visible_ids(self.actor)
        return selectors.visible_alerts(self.actor, key_ids=visible).select_related("budget")

    def chosen(self, rows: QuerySet[BudgetAlert]) -> QuerySet[BudgetAlert]:
        """Narrow the list down to a budget and a kind."""
        return self.narrowed(rows, budget="budget__public_id", kind="kind")

    def about(self, rows: Sequence[BudgetAlert]) -> dict[str, Any]:
        """Return what the scopes are called."""
        return named_scopes(self, [(ScopeKind(row.budget.scope_kind), row.budget.scope_id) for row in rows])


def named_scopes(
    view: BudgetViewSet | RateLimitViewSet | BudgetAlertViewSet, scopes: Sequence[tuple[ScopeKind, int]]
) -> dict[str, Any]:
    """Return what scopes are called, those of keys too. Two queries."""
    keys = {scope_id for kind, scope_id in scopes if kind is ScopeKind.KEY}
    named = view.keys.names(view.actor, keys)
    return {"scopes": scope_names(scopes) | {(ScopeKind.KEY, key): name for key, name in named.items()}}


def _rules(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with its rules as the services name them."""
    return {
        **wanted,
        "mode": Mode(wanted["mode"]),
        "allocation": Allocation(wanted["allocation"]),
        "roll_over": RollOver(wanted["roll_over"]),
    }
