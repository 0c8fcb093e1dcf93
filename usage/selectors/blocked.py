"""Refused calls of known keys, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import F, Max, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, TruncDay
from django.utils import timezone

from budgets.models import ScopeKind, Window
from budgets.types import scope_title
from core import clock
from core.sorting import Order, SqlColumn
from core.spreadsheets import in_batches
from keys.models import ApiKey
from teams.models import NamedKind, User
from teams.selectors import FormerNames, RolesHeld, former_names
from usage.models import BlockedHour
from usage.reasons import reason_of
from usage.selectors.periods import day_starts_at, organisation_today
from usage.types import Blocked, Scope

NAMES = {
    "project_public_id": "project__public_id",
    "project_code": "project__code",
    "project_name": "project__name",
    "project_team_id": "project__team_id",
    "team_public_id": "team__public_id",
    "team_code": "team__code",
    "team_name": "team__name",
    "department_name": "department__name",
    "budget_scope": "budget__scope_kind",
    "budget_window": "budget__window",
}
KEY_NAMES = {
    "key_public_id": "public_id",
    "key_name": "name",
    "key_owner": "owner__name",
    "key_owner_public_id": "owner__public_id",
}
NAMED = (NamedKind.PROJECT, NamedKind.TEAM, NamedKind.DEPARTMENT)
CAUSE = ("budget_id", "rate_scope", "rate_limit")
IDS = ("key_id", "project_id", "team_id", "department_id", "code", *CAUSE)
TIES = ("project_id", "key_id", "code", *CAUSE, "team_id", "department_id")  # a project moves within a day
BUDGET_PUBLIC_ID = Coalesce(F("budget__public_id"), Value(""))
# What no other row of an hour shares; public ids, so that a place in the list can be told to anybody.
PLACE = (
    *("key_public_id", "project_public_id", "team_public_id", "code"),
    *("budget_public_id", "rate_scope", "rate_limit"),
)
NEWEST_FIRST = Order(name="since", falls=True)
SORTED_BY: Mapping[str, SqlColumn] = {
    "since": "since",
    "project": "project_name",
    "code": "code",
    "calls": "all_calls",
    "last": "last",
}
EXHAUSTED_LATELY = timedelta(days=1)  # the job that asks runs every minute
RATES = {
    "requests_per_minute": "Requests a minute",
    "tokens_per_minute": "Tokens a minute",
    "parallel_calls": "Calls at once",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedLine:
    """Calls of one key refused by one thing in the hour or day that starts at `since`.

    The team is the one of then, `project_team_id` the project's of now. What was refused before Purser kept
    the budgets and rates that refuse names none.
    """

    since: datetime
    key_id: int
    key_public_id: str
    key_name: str
    key_owner: str
    key_owner_public_id: str
    project_id: int
    project_public_id: str
    project_code: str
    project_name: str
    project_team_id: int
    team_id: int
    team_public_id: str
    team_code: str
    team_name: str
    department_id: int
    department_name: str
    code: str
    budget_id: int | None
    budget_public_id: str
    budget_scope: str | None
    budget_window: str | None
    rate_scope: str
    rate_limit: str
    calls: int
    last_at: datetime

    @property
    def refused_by(self) -> str:
        """Name the budget or the rate that refused, as the caller was told; empty where neither did."""
        if self.budget_window:
            return f"{Window(self.budget_window).label} budget of {self.cause_name}"
        return f"{RATES[self.rate_limit]} of {self.cause_name}" if self.rate_limit else ""

    @property
    def cause_name(self) -> str:
        """Return how people call the scope whose budget or rate refused: one that the call was part of."""
        kind = ScopeKind(self.budget_scope or self.rate_scope)
        return scope_title(kind, "" if kind is ScopeKind.ORGANISATION else getattr(self, f"{kind}_name"))

    @property
    def place(self) -> tuple[Any, ...]:
        """Return what no other line shares, in the order of `blocked_hours`."""
        return (self.since, *(getattr(self, name) for name in PLACE))


def watched_by(user: User, roles: RolesHeld) -> Scope:
    """Return whose refused calls a person may see: those of his own keys and of what he leads or directs.

    No query: which keys are his is part of the question.
    """
    if roles.sees_everything:
        return Scope(label="All keys", everything=True)
    own = ApiKey.objects.filter(owner=user).order_by().values_list("pk", flat=True)
    return Scope(
        label="Your keys and teams" if roles.leads or roles.directs else "Your keys",
        department_ids=tuple(sorted(roles.directs)),
        team_ids=tuple(sorted(roles.leads)),
        key_ids=own,
    )


def blocked_since(
    scope: Scope, since: datetime, *, until: datetime | None = None, only: Mapping[str, str] | None = None
) -> list[Blocked]:
    """Return refused calls by project and reason, the most first; those up to `until` if given, narrowed by
    the lookups of `only`. One query.
    """
    [found] = _counted(scope, _hours(since, until) & Q(**(only or {})))
    return found


def exhausted_lately(*, at: datetime | None = None) -> dict[int, datetime]:
    """Return when budgets last refused a call that what is left does not cover, by budget, of a day. One
    query.
    """
    since = (at or clock.now()) - EXHAUSTED_LATELY
    rows = BlockedHour.objects.filter(hour__gte=since, code="budget_exhausted", budget__isnull=False)
    return dict(rows.values_list("budget_id").annotate(Max("last_at")))


def blocked_today(scope: Scope, *, at: datetime | None = None) -> list[Blocked]:
    """Return the calls refused since the organisation's midnight. One query."""
    return blocked_since(scope, _midnight(at))


def blocked_and_today(scope: Scope, since: datetime, until: datetime) -> tuple[list[Blocked], list[Blocked]]:
    """Return the refused calls of a time, and those since the organisation's midnight. One query for both."""
    found, today = _counted(scope, _hours(since, until), _hours(_midnight(None)))
    return found, today


def _midnight(at: datetime | None) -> datetime:
    return day_starts_at(organisation_today(at or clock.now()))


def _hours(since: datetime, until: datetime | None = None) -> Q:
    return Q(hour__gte=since) & (Q() if until is None else Q(hour__lte=until))


def _counted(scope: Scope, *times: Q) -> list[list[Blocked]]:
    """Return the refused calls of each time by project and reason, the most first."""
    sums = {f"calls_{number}": Sum("calls", filter=time) for number, time in enumerate(times)}
    lasts = {f"last_{number}": Max("last_at", filter=time) for number, time in enumerate(times)}
    rows: QuerySet[BlockedHour, Any] = (
        BlockedHour.objects.filter(scope.rows, reduce(or_, times))
        .values("project_id", "code")
        .annotate(name=F("project__name"), public_id=F("project__public_id"), **sums, **lasts)
        .order_by("project_id", "code")
    )
    found: list[dict[str, Any]] = list(rows)
    return [
        sorted(
            (_blocked(row, number) for row in found if row[f"calls_{number}"] is not None),
            key=lambda each: -each.calls,
        )
        for number in range(len(times))
    ]


def _blocked(row: Mapping[str, Any], number: int) -> Blocked:
    return Blocked(
        project_id=row["project_id"],
        project_public_id=row["public_id"] or "",
        project_name=row["name"] or "",
        code=row["code"],
        calls=row[f"calls_{number}"],
        last_at=row[f"last_{number}"],
    )


def in_words(blocked: Sequence[Blocked]) -> str:
    """Say what the refused calls have in common: `All Invoice OCR, over its budget`."""
    if not blocked:
        return "No call was refused"
    worst = blocked[0]
    share = "All" if len(blocked) == 1 else "Most"
    return f"{share} {worst.project_name}, {reason_of(worst.code).phrase}"


def blocked_lines(
    scope: Scope,
    since: datetime,
    *,
    by_hour: bool,
    only: Mapping[str, str],
    part: slice,
    order: Order = NEWEST_FIRST,
) -> list[BlockedLine]:
    """Return a part of the refused calls by hour or by the organisation's day. Three queries.

    `only` narrows by lookups such as `project__public_id`, `order` is a column of SORTED_BY. Calls are
    counted by the hour of UTC, so an hour in which a day begins counts for the day before.
    """
    return _named(list(_by_time(scope, since, by_hour=by_hour, only=only, order=order)[part]))


def every_blocked_line(
    scope: Scope, since: datetime, *, by_hour: bool, only: Mapping[str, str], order: Order
) -> Iterator[BlockedLine]:
    """Give all that `blocked_lines` has parts of, through a cursor at the server."""
    return in_batches(_by_time(scope, since, by_hour=by_hour, only=only, order=order), _named)


def _by_time(
    scope: Scope, since: datetime, *, by_hour: bool, only: Mapping[str, str], order: Order
) -> QuerySet[BlockedHour, Any]:
    day = TruncDay("hour", tzinfo=timezone.get_default_timezone())
    rows: QuerySet[BlockedHour, Any] = (
        BlockedHour.objects.filter(scope.rows, hour__gte=since, **only)
        .annotate(
            since=F("hour") if by_hour else day,
            budget_public_id=BUDGET_PUBLIC_ID,
            **{name: F(column) for name, column in NAMES.items()},
        )
        .values("since", "budget_public_id", *IDS, *NAMES)
        .annotate(all_calls=Sum("calls"), last=Max("last_at"))
    )
    return rows.order_by(*order.sql(SORTED_BY, "-since", "-all_calls", *TIES))


def _named(found: list[dict[str, Any]]) -> list[BlockedLine]:
    keys = ApiKey.objects.filter(pk__in={row["key_id"] for row in found})
    named = {key["pk"]: key for key in keys.values("pk", **_key_names())}
    return _lines([{**row, **named.get(row["key_id"], {})} for row in found])


def blocked_hours(
    scope: Scope,
    since: datetime,
    until: datetime,
    *,
    only: Mapping[str, str],
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[BlockedLine]:
    """Return refused calls by the hour in [since, until), the newest first, for programs. Two queries.

    `after` is the place of the line before.
    """
    key = ApiKey.objects.filter(pk=OuterRef("key_id"))
    rows: QuerySet[BlockedHour, Any] = BlockedHour.objects.annotate(
        since=F("hour"),
        all_calls=F("calls"),
        last=F("last_at"),
        budget_public_id=BUDGET_PUBLIC_ID,
        **{name: F(column) for name, column in NAMES.items()},
        **{name: Subquery(key.values(column)) for name, column in KEY_NAMES.items()},
    ).filter(scope.rows, hour__gte=since, hour__lt=until, **only)
    if after is not None:
        rows = rows.filter(_behind(after))
    known = ("since", "all_calls", "last", "budget_public_id", *IDS, *NAMES, *KEY_NAMES)
    return _lines(list(rows.order_by("-hour", *PLACE).values(*known)[:limit]))


def _key_names() -> dict[str, F]:
    return {name: F(column) for name, column in KEY_NAMES.items()}


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[BlockedLine]:
    """Make lines; keys, projects and teams bear the names that they had when the last call was refused."""
    former = former_names(min(row["last"] for row in rows)) if rows else FormerNames()
    return [_line(row, former) for row in rows]


def _line(row: Mapping[str, Any], former: FormerNames) -> BlockedLine:
    """Make a line; a key that is not known any more has no name."""
    known: dict[str, Any] = {name: row[name] for name in ("since", "budget_public_id", *IDS, *NAMES)}
    for kind in NAMED:
        name = f"{kind}_name"
        known[name] = former.at(row["last"], kind, row[f"{kind}_id"], row[name])
    named: dict[str, Any] = {name: row.get(name) or "" for name in KEY_NAMES}
    if named["key_name"]:
        named["key_name"] = former.at(row["last"], NamedKind.KEY, row["key_id"], named["key_name"])
    return BlockedLine(
        **known,
        **named,
        calls=row["all_calls"],
        last_at=row["last"],
    )


def _behind(place: tuple[Any, ...]) -> Q:
    """Match the rows after a place: an earlier hour, or the same one and further on in the other columns."""
    hour, *others = place
    behind, same = Q(hour__lt=hour), Q(hour=hour)
    for column, value in zip(PLACE, others, strict=True):
        behind |= same & Q(**{f"{column}__gt": value})
        same &= Q(**{column: value})
    return behind
