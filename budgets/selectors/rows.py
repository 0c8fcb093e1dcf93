"""Reads budgets: what their windows spent and hold, and which of them binds a call.

Limits and windows are those of the database's clock, which decides calls, unless a moment is given.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import (
    Case,
    CharField,
    DateTimeField,
    Expression,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Cast, Collate, JSONObject, Now

from budgets.expressions import LimitAt, WindowEdge
from budgets.models import (
    AlertKind,
    Allocation,
    Balance,
    Budget,
    BudgetAlert,
    BudgetLimit,
    LimitKind,
    Mode,
    RollOver,
    ScopeKind,
    Window,
)
from budgets.selectors.history import PURSER, limit_history
from budgets.selectors.orders import BY_NAME, SORTED_BY
from budgets.selectors.places import (
    WIDEST_FIRST,
    of_scopes,
    open_budgets_above,
    place_of,
    scope_place,
    seen_by,
    with_places,
)
from budgets.types import (
    AnyBudgetStanding,
    BudgetDetail,
    BudgetRow,
    BudgetStanding,
    BudgetStandings,
    Headroom,
    PassedShare,
    PastWindow,
)
from core.errors import NotFoundError
from core.money import ZERO
from core.sorting import Order
from teams.models import Project, User
from teams.selectors import RolesHeld

PAST_WINDOWS = 12
ALL = slice(None)
# The columns that `standing_of` reads.
STANDING = (
    *("pk", "public_id", "scope_kind", "scope_id", "window", "mode", "only_tier_id", "only_model_id"),
    *("limit_usd", "spent_usd", "held_usd", "starts_at", "ends_at"),
)


def visible_budgets(
    user: User, *, key_ids: Iterable[int] = (), roles: RolesHeld | None = None
) -> QuerySet[Budget]:
    """Return the open budgets whose scope the user may see, as `seen_by` says."""
    return Budget.objects.filter(seen_by(user, key_ids=key_ids, roles=roles), closed_at__isnull=True)


def budget_rows(
    budgets: QuerySet[Budget], *, at: datetime | None = None, part: slice = ALL, order: Order = BY_NAME
) -> list[BudgetRow]:
    """Return budgets with limits and balances, or a part of that list. One query.

    The widest scope stands first, and those of one kind of scope by `order`, a column of SORTED_BY.
    """
    moment = moment_of(at)
    base = BudgetLimit.objects.filter(
        budget_id=OuterRef("pk"), kind=LimitKind.BASE, valid_from__lte=moment
    ).order_by("-valid_from", "-id")
    found = (
        with_standings(with_places(budgets), moment)
        .select_related("only_model")
        .annotate(
            since=Subquery(base.values("valid_from")[:1]),
            set_by=Subquery(base.values("actor__name")[:1]),
            why=Subquery(base.values("reason")[:1]),
            passed=_passed_in_the_window(),
        )
        .order_by(_breadth(), *order.sql(SORTED_BY), Collate(F("scope_name"), "C"), "scope_id", "pk")
    )
    return [_row(budget) for budget in found[part]]


def list_budgets(
    user: User,
    *,
    key_ids: Iterable[int] = (),
    roles: RolesHeld | None = None,
    at: datetime | None = None,
    scope: ScopeKind | None = None,
    window: Window | None = None,
    part: slice = ALL,
    order: Order = BY_NAME,
) -> list[BudgetRow]:
    """Return what the Budgets page lists for this person, of one kind of scope and one window if given.

    `part` is the slice that a page shows of that list, `order` as `budget_rows` has it. Two queries,
    one when his `roles` are known.
    """
    chosen = {"scope_kind": scope, "window": window}
    found = visible_budgets(user, key_ids=key_ids, roles=roles)
    return budget_rows(
        found.filter(**{name: each for name, each in chosen.items() if each}), at=at, part=part, order=order
    )


def tightest_of_their_calls(rows: Sequence[BudgetRow]) -> frozenset[int]:
    """Return the ids of those of these budgets that refuse their own calls first, where others bind them too.

    The others are read whether or not the reader may see them. One query.
    """
    scopes: dict[ScopeKind, set[int]] = {}
    for row in rows:
        for kind, scope_id in row.place.chain:
            scopes.setdefault(kind, set()).add(scope_id)
    binding = standings_of_scopes(scopes) if rows else {}
    found = set()
    for row in rows:
        path = [other for scope in row.place.chain for other in binding.get(scope, ()) if other.binds(row)]
        first = tightest(path)
        if len(path) > 1 and first is not None and first.id == row.id:
            found.add(row.id)
    return frozenset(found)


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
    """Return one budget with its limits so far, past windows and what else binds its calls. Four queries."""
    row = budget_rows(Budget.objects.filter(pk=budget.pk), at=at)[0]
    path = binding_with(row, at=at)
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


def binding_with(row: BudgetRow, *, seen: Q | None = None, at: datetime | None = None) -> list[BudgetRow]:
    """Return the other budgets that the calls of this one must fit. One query.

    Of those that do not meet `seen`, a condition such as that of `seen_by`, `is_seen` is False.
    """
    around = open_budgets_above(row.place).exclude(pk=row.id)
    if seen is not None:
        around = around.annotate(is_seen=seen)
    return budget_rows(_compatible(around, row.only_tier, row.only_model_id), at=at)


def tightest(rows: Iterable[AnyBudgetStanding]) -> AnyBudgetStanding | None:
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


def standings_of_scopes(
    scopes: Mapping[ScopeKind, Collection[int]], *, at: datetime | None = None
) -> BudgetStandings:
    """Return the open budgets of these scopes (0 is the organisation's id) by their scope. One query."""
    wanted = Q(pk__in=[])
    for kind, ids in scopes.items():
        wanted |= of_scopes(kind, list(ids))
    budgets = with_standings(Budget.objects.filter(wanted, closed_at__isnull=True), moment_of(at))
    # Plain rows: making models of them, with all columns, took as long as reading them.
    rows = budgets.order_by("pk").values_list(*STANDING, named=True)
    return by_scope(standing_of(row) for row in rows)


def by_scope(rows: Iterable[AnyBudgetStanding]) -> dict[tuple[ScopeKind, int], list[AnyBudgetStanding]]:
    """Return budgets by what they are budgets of, both in the order given."""
    found: dict[tuple[ScopeKind, int], list[AnyBudgetStanding]] = {}
    for row in rows:
        found.setdefault(row.scope, []).append(row)
    return found


def moment_of(at: datetime | None) -> Expression:
    """Return a moment in SQL, by the database's clock that of the statement unless one is given.

    It is the same for all rows, so that an index finds a window by it. A clock that is asked row by row would
    be held against every window that a budget ever had.
    """
    return Now() if at is None else Value(at, output_field=DateTimeField())


def with_standings(budgets: QuerySet[Any], moment: Expression) -> QuerySet[Any]:
    """Return budgets with their limit and balance at a moment, for `standing_of`."""
    balance = Balance.objects.filter(budget_id=OuterRef("pk"), window_start=OuterRef("starts_at"))
    windowed = budgets.annotate(
        starts_at=WindowEdge(moment, edge="window_start"),
        ends_at=WindowEdge(moment, edge="window_end"),
        limit_usd=LimitAt(F("pk"), moment),
    )
    found: QuerySet[Any] = windowed.annotate(
        spent_usd=Subquery(balance.values("spent_usd")), held_usd=Subquery(balance.values("reserved_usd"))
    )
    return found


def _compatible(budgets: QuerySet[Budget], tier: int | None, model_id: int | None) -> QuerySet[Budget]:
    """Leave out budgets that are only for another tier or model."""
    return budgets.filter(
        Q(only_tier__isnull=True) | Q(only_tier=tier), Q(only_model__isnull=True) | Q(only_model=model_id)
    )


def _breadth() -> Case:
    """Give the place of a budget's scope among all kinds of scope in SQL, 0 for the widest."""
    return Case(*(When(scope_kind=kind, then=Value(place)) for place, kind in enumerate(WIDEST_FIRST)))


def standing_of(budget: Any) -> BudgetStanding:
    """Return how a budget of `with_standings` stands."""
    return BudgetStanding(**_figures(budget))


def _figures(budget: Any) -> dict[str, Any]:
    """Return what a `BudgetStanding` says of a budget of `with_standings`."""
    return {
        "id": budget.pk,
        "public_id": budget.public_id,
        "scope_kind": ScopeKind(budget.scope_kind),
        "scope_id": budget.scope_id,
        "window": Window(budget.window),
        "mode": Mode(budget.mode),
        "only_tier": budget.only_tier_id,
        "only_model_id": budget.only_model_id,
        "limit_usd": budget.limit_usd,
        "spent_usd": budget.spent_usd or ZERO,
        "held_usd": budget.held_usd or ZERO,
        "window_starts_at": budget.starts_at,
        "window_ends_at": budget.ends_at,
    }


def _passed_in_the_window() -> ArraySubquery:
    """Give the alerts of a budget's window as JSON, the latest first, for `_share`."""
    alerts = BudgetAlert.objects.filter(budget_id=OuterRef("pk"), window_start=OuterRef("starts_at"))
    text = CharField()
    facts = JSONObject(
        percent="percent",
        kind="kind",
        is_told="is_told",
        limit_usd=Cast("limit_usd", text),  # a number of JSON is a float
        limit_since="limit_since",
        passed_at="passed_at",
    )
    return ArraySubquery(alerts.order_by("-pk").values(facts=facts))


def _share(facts: Mapping[str, Any]) -> PassedShare:
    return PassedShare(
        percent=facts["percent"],
        is_forecast=facts["kind"] == AlertKind.FORECAST,
        is_told=facts["is_told"],
        limit_usd=Decimal(facts["limit_usd"]),
        limit_since=datetime.fromisoformat(facts["limit_since"]),
        passed_at=datetime.fromisoformat(facts["passed_at"]),
    )


def _row(budget: Any) -> BudgetRow:
    """Make the plain row of a budget that `budget_rows` annotated."""
    return BudgetRow(
        **_figures(budget),
        scope_name=budget.scope_name,
        place=place_of(budget),
        window_label=budget.get_window_display(),
        window_anchor=budget.window_anchor,
        time_zone=budget.time_zone,
        allocation=Allocation(budget.allocation),
        overcommit_ratio=budget.overcommit_ratio,
        roll_over=RollOver(budget.roll_over),
        alert_percents=tuple(budget.alert_percents),
        passed=tuple(map(_share, budget.passed)),
        only=str(budget.only_model or "") or (f"Tier {budget.only_tier_id}" if budget.only_tier_id else ""),
        in_force_since=budget.since,
        set_by=budget.set_by or PURSER,
        reason=budget.why or "",
        is_seen=getattr(budget, "is_seen", True),
    )
