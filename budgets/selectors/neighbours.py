"""Reads the budgets that a change of one is checked against, with their limits over time."""

from collections.abc import Collection, Iterable
from typing import Any

from django.db.models import Q, QuerySet

from budgets.allocation import Node
from budgets.expressions import ClockTimestamp
from budgets.models import Allocation, BudgetLimit, Mode, ScopeKind, Window
from budgets.schedules import Schedule, Step
from budgets.selectors.places import open_budgets_above, open_budgets_below, place_of, with_places
from budgets.types import ScopePlace, scope_title


def neighbourhood(place: ScopePlace, window: Window) -> tuple[Node, ...]:
    """Return the open budgets of a window above and below a scope, and its own. Three queries.

    Where something above hands its limit out in shares, or a lead does (his team's, to projects), all that
    is below that comes too.
    """
    above = list(with_places(open_budgets_above(place).filter(window=window)))
    root = place
    for budget in sorted(above, key=lambda each: len(place_of(each).chain), reverse=True):
        hands_out = budget.allocation != Allocation.POOL
        leads_hand_out = place.kind is ScopeKind.PROJECT and budget.scope_kind == ScopeKind.TEAM
        root = place_of(budget) if hands_out or leads_hand_out else root
    known = [budget.pk for budget in above]
    below = with_places(open_budgets_below(root).filter(window=window).exclude(pk__in=known))
    return nodes_of([*above, *below])


def nodes_of(budgets: Iterable[Any]) -> tuple[Node, ...]:
    """Return budgets of `with_places` with their limits over time. One query."""
    found = list(budgets)
    schedules = _schedules([budget.pk for budget in found])
    return tuple(
        Node(
            id=budget.pk,
            place=place_of(budget),
            name=scope_title(ScopeKind(budget.scope_kind), budget.scope_name),
            window=Window(budget.window),
            only_tier=budget.only_tier_id,
            only_model_id=budget.only_model_id,
            mode=Mode(budget.mode),
            allocation=Allocation(budget.allocation),
            overcommit_ratio=budget.overcommit_ratio,
            schedule=schedules.get(budget.pk, Schedule()),
        )
        for budget in found
    )


def _schedules(budget_ids: Collection[int]) -> dict[int, Schedule]:
    """Read the limits of budgets without the top-ups that are over."""
    limits: QuerySet[BudgetLimit] = BudgetLimit.objects.filter(
        Q(valid_until__isnull=True) | Q(valid_until__gt=ClockTimestamp()), budget__in=budget_ids
    )
    steps: dict[int, list[Step]] = {}
    for limit in limits.order_by():
        steps.setdefault(limit.budget_id, []).append(
            Step(
                amount_usd=limit.amount_usd,
                valid_from=limit.valid_from,
                valid_until=limit.valid_until,
                number=limit.pk,
            )
        )
    return {budget: Schedule(steps=tuple(rows)) for budget, rows in steps.items()}
