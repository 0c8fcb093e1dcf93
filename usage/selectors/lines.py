"""Usage line by line, for programs: what each project used of each model on each day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import F, Q, QuerySet, Sum

from teams.models import NamedKind
from teams.selectors import FormerNames, former_names
from usage.models import UsageDay
from usage.selectors.periods import day_starts_at, end_of
from usage.selectors.rollup import TOKENS, days_in
from usage.types import Period, Scope

SUMS = ("calls", "cost_usd", *TOKENS)
# One line for each combination; public ids, so that a place in the list can be told to anybody.
PLACE = {
    "day": "day",
    "project_public_id": "project__public_id",
    "team_public_id": "team__public_id",
    "model_public_id": "model__public_id",
    "tier_number": "tier_id",
}
NAMES = {
    "project_code": "project__code",
    "project_name": "project__name",
    "team_code": "team__code",
    "team_name": "team__name",
    "model_name": "model__name",
}
NAMED = (NamedKind.PROJECT, NamedKind.TEAM)
IDS = tuple(f"{kind}_id" for kind in NAMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """One project, team and model on one day, as attributed then; tokens are inclusive totals."""

    day: date
    project_public_id: str
    project_code: str
    project_name: str
    team_public_id: str
    team_code: str
    team_name: str
    model_public_id: str
    model_name: str
    tier_number: int
    calls: int
    cost_usd: Decimal
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @property
    def place(self) -> tuple[Any, ...]:
        """Return what no other line shares, in the order of the list."""
        return tuple(getattr(self, name) for name in PLACE)


def usage_lines(
    scope: Scope,
    period: Period,
    *,
    only: Mapping[str, str],
    after: tuple[Any, ...] | None = None,
    limit: int,
) -> list[UsageLine]:
    """Return lines of a scope and period, the newest day first; `after` is the place of the line before.

    `only` narrows by lookups such as `project__public_id`. A project and a team bear the name that they had
    at the end of the day. Two queries.
    """
    rows: QuerySet[UsageDay, Any] = days_in(scope, period).filter(**only)
    if after is not None:
        rows = rows.filter(_behind(after))
    lines = (
        rows.annotate(**{name: F(column) for name, column in {**PLACE, **NAMES}.items() if name != column})
        .values(*PLACE, *NAMES, *IDS)
        .annotate(**{f"sum_{name}": Sum(name) for name in SUMS})
        .order_by("-day", *list(PLACE)[1:])
    )
    found = list(lines[:limit])
    named = former_names(day_starts_at(found[-1]["day"])) if found else FormerNames()
    return [_line(row, named) for row in found]


def _line(row: Mapping[str, Any], named: FormerNames) -> UsageLine:
    then = end_of(row["day"])
    names = {f"{kind}_name": named.at(then, kind, row[f"{kind}_id"], row[f"{kind}_name"]) for kind in NAMED}
    values = {name.removeprefix("sum_"): value for name, value in row.items() if name not in IDS}
    return UsageLine(**{**values, **names})


def _behind(place: tuple[Any, ...]) -> Q:
    """Match the lines after a place: an earlier day, or the same one and further on in the other columns."""
    behind = Q(pk__in=[])
    same = Q()
    for column, value in zip(PLACE.values(), place, strict=True):
        step = "lt" if column == "day" else "gt"
        behind |= same & Q(**{f"{column}__{step}": value})
        same &= Q(**{column: value})
    return behind
