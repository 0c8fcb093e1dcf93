"""Reads budgets: what their windows spent and hold, what binds a project, whether the books are right.

Limits and windows are those of the database's clock, which decides calls, unless a moment is given.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import (
    Case,
    CharField,
    DateTimeField,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)

from budgets import ledger
from budgets.expressions import ClockTimestamp, LimitAt, ScopePart, WindowEdge
from budgets.models import Balance, Budget, BudgetLimit, LimitKind, Mode, ScopeKind, Window
from budgets.types import BudgetDetail, BudgetRow, Headroom, LimitRow, PastWindow, ScopePlace
from core.books import Broken, broken
from core.errors import NotFoundError
from core.money import ZERO
from teams.models import Department, Project, Team, User
from teams.selectors import RolesHeld, roles_of

WIDEST_FIRST = tuple(ScopeKind)
PAST_WINDOWS = 12
PURSER = "Purser"  # set what no person set

KEYS_SPENDING = """
    WITH here AS (
      SELECT b.id, w.window_start FROM budgets_budget b,
        budgets_window(b.window, b.window_anchor, b.time_zone, clock_timestamp()) w WHERE b.id = %(budget)s
    )
    SELECT e.key_id FROM budgets_entry e, here
    WHERE e.budget_ids @> ARRAY[here.id] AND e.effective_at >= here.window_start
      AND (%(kind)s <> 'project' OR e.project_id = %(scope)s) AND (%(kind)s <> 'team' OR e.team_id =
      %(scope)s) AND (%(kind)s <> 'department' OR e.department_id = %(scope)s)
    UNION
    SELECT r.key_id FROM budgets_reservation r, here WHERE r.state = 'open' AND r.budget_ids @> ARRAY[here.id]
    ORDER BY 1
"""


def visible_budgets(
    user: User, *, key_ids: Iterable[int] = (), roles: RolesHeld | None = None
) -> QuerySet[Budget]:
    """Return the open budgets whose scope the user may see, as `seen_by` says."""
    return Budget.objects.filter(seen_by(user, key_ids=key_ids, roles=roles), closed_at__isnull=True)


def seen_by(user: User, *, key_ids: Iterable[int] = (), roles: RolesHeld | None = None) -> Q:
    """Return the condition that the user may see a budget's scope; of keys those that the caller says he may.

    `key_ids` may be a queryset, which is not read by itself. `roles`, when they are known, save a query.
    """
    seen = (
        _of(ScopeKind.TEAM, Team.objects.visible_to(user).values("pk"))
        | _of(ScopeKind.PROJECT, Project.objects.visible_to(user).values("pk"))
        | _of(ScopeKind.DEPARTMENT, Department.objects.visible_to(user).values("pk"))
        | _of(ScopeKind.KEY, key_ids)
    )
    if (roles or roles_of(user)).sees_everything:
        seen |= Q(scope_kind=ScopeKind.ORGANISATION)
    return seen


def budget_rows(budgets: QuerySet[Budget], *, at: datetime | None = None) -> list[BudgetRow]:
    """Return budgets with limits and balances, the widest scope first. One query."""
    moment = ClockTimestamp() if at is None else Value(at, output_field=DateTimeField())
    balance = Balance.objects.filter(budget_id=OuterRef("pk"), window_start=OuterRef("starts_at"))
    base = BudgetLimit.objects.filter(
        budget_id=OuterRef("pk"), kind=LimitKind.BASE, valid_from__lte=moment
    ).order_by("-valid_from", "-id")
    found = (
        budgets.select_related("only_model")
        .annotate(
            starts_at=WindowEdge(moment, edge="window_start"),
            ends_at=WindowEdge(moment, edge="window_end"),
            limit_usd=LimitAt(F("pk"), moment),
        )
        .annotate(
            spent_usd=Subquery(balance.values("spent_usd")),
            held_usd=Subquery(balance.values("reserved_usd")),
            since=Subquery(base.values("valid_from")[:1]),
            set_by=Subquery(base.values("actor__name")[:1]),
            why=Subquery(base.values("reason")[:1]),
            scope_name=_scope_name(),
        )
    )
    rows = [_row(budget) for budget in found]
    return sorted(
        rows, key=lambda row: (WIDEST_FIRST.index(row.scope_kind), row.scope_name, row.scope_id, row.id)
    )


def list_budgets(
    user: User,
    *,
    key_ids: Iterable[int] = (),
    roles: RolesHeld | None = None,
    at: datetime | None = None,
) -> list[BudgetRow]:
    """Return what the Budgets page lists for this person. Two queries, one when his `roles` are known."""
    return budget_rows(visible_budgets(user, key_ids=key_ids, roles=roles), at=at)


def find_budget(
    user: User, public_id: str, *, key_ids: Iterable[int] = (), roles: RolesHeld | None = None
) -> BudgetRow:
    """Return an open budget that the user may see, as it stands now. One query when his `roles` are known.

    Raises NotFoundError for one that does not exist or is outside his scope.
    """
    rows = budget_rows(visible_budgets(user, key_ids=key_ids, roles=roles).filter(public_id=public_id))
    if not rows:
        raise NotFoundError("There is no such budget, or it is not one of yours or of your teams.")
    return rows[0]


def budget_detail(budget: Budget, *, at: datetime | None = None) -> BudgetDetail:
    """Return one budget with its limits so far, past windows and what else binds its calls. Five queries."""
    row = budget_rows(Budget.objects.filter(pk=budget.pk), at=at)[0]
    path = binding_with(row, scope_place(row.scope_kind, row.scope_id), at=at)
    past = Balance.objects.filter(budget=budget, window_end__lte=row.window_starts_at).order_by(
        "-window_start"
    )
    return BudgetDetail(
        budget=row,
        history=limit_history(budget.pk),
        past_windows=tuple(
            PastWindow(starts_at=one.window_start, ends_at=one.window_end, spent_usd=one.spent_usd)
            for one in past[:PAST_WINDOWS]
        ),
        path=tuple(path),
        tightest=tightest([row, *path]),
    )


def binding_with(
    row: BudgetRow, place: ScopePlace, *, seen: Q | None = None, at: datetime | None = None
) -> list[BudgetRow]:
    """Return the other budgets that the calls of this one must fit; `place` is its scope's. One query.

    Of those that do not meet `seen`, a condition such as that of `seen_by`, `is_seen` is False.
    """
    around = open_budgets_above(place).exclude(pk=row.id)
    if seen is not None:
        around = around.annotate(is_seen=seen)
    return budget_rows(_compatible(around, row.only_tier, row.only_model_id), at=at)


def limit_history(budget_id: int) -> tuple[LimitRow, ...]:
    """Return every limit of a budget, the newest first; a base limit lasts until the next one. One query."""
    return _history(BudgetLimit.objects.filter(budget=budget_id).select_related("actor"))


def tightest(rows: Iterable[BudgetRow]) -> BudgetRow | None:
    """Return the budget that refuses first: the hard one with the least left."""
    hard = [row for row in rows if row.mode is Mode.HARD and row.left_usd is not None]
    return min(hard, key=lambda row: (row.left_usd or ZERO, row.id), default=None)


def headroom(
    project: Project, *, tier: int | None = None, key_id: int | None = None, at: datetime | None = None
) -> Headroom:
    """Return the budgets that a call of this project must fit, and the tightest. Two queries.

    Budgets that are only for one tier count when `tier` is that tier; those for one model do not count.
    """
    place = scope_place(ScopeKind.KEY, key_id) if key_id else scope_place(ScopeKind.PROJECT, project.pk)
    rows = budget_rows(_compatible(open_budgets_above(place), tier, None), at=at)
    return Headroom(rows=tuple(rows), tightest=tightest(rows))


def budgets_of_scopes(
    scopes: Mapping[ScopeKind, Collection[int]], *, at: datetime | None = None
) -> list[BudgetRow]:
    """Return the open budgets of these scopes (0 is the organisation's id). One query."""
    wanted = Q(pk__in=[])
    for kind, ids in scopes.items():
        wanted |= _of(kind, list(ids))
    return budget_rows(Budget.objects.filter(wanted, closed_at__isnull=True), at=at)


def open_budgets_above(place: ScopePlace) -> QuerySet[Budget]:
    """Return the open budgets of a scope and of every scope it is part of."""
    return Budget.objects.filter(_above(place), closed_at__isnull=True)


def open_budgets_below(place: ScopePlace) -> QuerySet[Budget]:
    """Return the open budgets of the narrower scopes inside a scope."""
    narrower = WIDEST_FIRST[WIDEST_FIRST.index(place.kind) + 1 :]
    found = Budget.objects.filter(scope_kind__in=narrower, closed_at__isnull=True)
    if place.kind is ScopeKind.ORGANISATION:
        return found
    return found.annotate(home=ScopePart(f"{place.kind.value}_id")).filter(home=place.id)


def team_allocation(team_id: int, window: Window) -> list[BudgetRow]:
    """Return the unfiltered budgets of a team and its projects for a window. One query."""
    projects = Project.objects.filter(team=team_id).values("pk")
    found = Budget.objects.filter(
        _of(ScopeKind.TEAM, [team_id]) | _of(ScopeKind.PROJECT, projects),
        window=window,
        only_tier__isnull=True,
        only_model__isnull=True,
        closed_at__isnull=True,
    )
    return budget_rows(found.exclude(mode=Mode.NOTIFY))


def scope_place(kind: ScopeKind, scope_id: int) -> ScopePlace:
    """Return where a scope stands; all parts are None when it does not exist. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT project_id, team_id, department_id FROM budgets_scope_of(%s, %s)", [kind.value, scope_id]
        )
        project_id, team_id, department_id = cursor.fetchone()
    return ScopePlace(
        kind=kind, id=scope_id, project_id=project_id, team_id=team_id, department_id=department_id
    )


def keys_spending_on(budget: Budget) -> list[int]:
    """Return the ids of the keys that spent or hold money in the budget's current window. One query."""
    if budget.scope_kind == ScopeKind.KEY:
        return [budget.scope_id]
    with connection.cursor() as cursor:
        cursor.execute(
            KEYS_SPENDING, {"budget": budget.pk, "kind": budget.scope_kind, "scope": budget.scope_id}
        )
        return [key for (key,) in cursor.fetchall()]


def unbalanced_balances() -> list[Broken]:
    """Return every balance that is not exactly the sum of its entries and open holds."""
    return broken(ledger.BALANCES)


def _of(kind: ScopeKind, ids: object) -> Q:
    return Q(scope_kind=kind, scope_id__in=ids)


def _above(place: ScopePlace) -> Q:
    """Match the budgets of a scope and of all scopes it is part of."""
    chain = {
        ScopeKind.ORGANISATION: 0,
        ScopeKind.DEPARTMENT: place.department_id,
        ScopeKind.TEAM: place.team_id,
        ScopeKind.PROJECT: place.project_id,
        place.kind: place.id,
    }
    wanted = Q(pk__in=[])
    for kind, scope_id in chain.items():
        if scope_id is not None:
            wanted |= Q(scope_kind=kind, scope_id=scope_id)
    return wanted


def _compatible(budgets: QuerySet[Budget], tier: int | None, model_id: int | None) -> QuerySet[Budget]:
    """Leave out budgets that are only for another tier or model."""
    return budgets.filter(
        Q(only_tier__isnull=True) | Q(only_tier=tier), Q(only_model__isnull=True) | Q(only_model=model_id)
    )


def _scope_name() -> Case:
    """Give the name of a budget's scope in SQL; empty for the organisation and for a key."""
    by_kind: dict[ScopeKind, QuerySet[Any]] = {
        ScopeKind.DEPARTMENT: Department.objects.all(),
        ScopeKind.TEAM: Team.objects.all(),
        ScopeKind.PROJECT: Project.objects.all(),
    }
    names = [
        When(scope_kind=kind, then=Subquery(named.filter(pk=OuterRef("scope_id")).values("name")))
        for kind, named in by_kind.items()
    ]
    return Case(*names, default=Value(""), output_field=CharField())


def _row(budget: Any) -> BudgetRow:
    """Make the plain row of a budget that `budget_rows` annotated."""
    return BudgetRow(
        id=budget.pk,
        public_id=budget.public_id,
        scope_kind=ScopeKind(budget.scope_kind),
        scope_id=budget.scope_id,
        scope_name=budget.scope_name,
        department_id=budget.department_id,
        window=Window(budget.window),
        window_label=budget.get_window_display(),
        time_zone=budget.time_zone,
        mode=Mode(budget.mode),
        only=str(budget.only_model or "") or (f"Tier {budget.only_tier_id}" if budget.only_tier_id else ""),
        only_tier=budget.only_tier_id,
        only_model_id=budget.only_model_id,
        limit_usd=budget.limit_usd,
        spent_usd=budget.spent_usd or ZERO,
        held_usd=budget.held_usd or ZERO,
        window_starts_at=budget.starts_at,
        window_ends_at=budget.ends_at,
        in_force_since=budget.since,
        set_by=budget.set_by or PURSER,
        reason=budget.why or "",
        is_seen=getattr(budget, "is_seen", True),
    )


def _history(limits: Iterable[BudgetLimit]) -> tuple[LimitRow, ...]:
    rows: list[LimitRow] = []
    next_base: datetime | None = None
    for limit in sorted(limits, key=lambda limit: (limit.valid_from, limit.pk), reverse=True):
        is_base = limit.kind == LimitKind.BASE
        rows.append(
            LimitRow(
                amount_usd=limit.amount_usd,
                kind="" if is_base else limit.get_kind_display(),
                in_force_since=limit.valid_from,
                until=next_base if is_base else limit.valid_until,
                actor=str(limit.actor or PURSER),
                reason=limit.reason,
            )
        )
        next_base = limit.valid_from if is_base else next_base
    return tuple(rows)
