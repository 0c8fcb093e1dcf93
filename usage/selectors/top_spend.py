"""Which keys and models spend most."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from django.core.exceptions import EmptyResultSet
from django.db import connection

from budgets.models import ScopeKind
from catalog.models import LlmModel
from keys.models import ApiKey
from usage.selectors.outlook import scope_of
from usage.selectors.periods import custom
from usage.selectors.rollup import days_in

SHOWN = 3
COLUMNS = ("day", "department_id", "team_id", "project_id", "key_id", "tier_id", "model_id", "cost_usd")
TOP = """
    WITH day AS ({days}),
    asked AS (SELECT * FROM
              unnest(%s::bigint[], %s::text[], %s::bigint[], %s::date[], %s::int[], %s::bigint[])
              AS a (number, kind, scope_id, first_day, only_tier, only_model)),
    spent AS (
      SELECT a.number, d.key_id, d.model_id, sum(d.cost_usd) AS usd FROM asked a JOIN day d
        ON d.day >= a.first_day
       AND CASE a.kind WHEN 'organisation' THEN true WHEN 'department' THEN d.department_id = a.scope_id
             WHEN 'team' THEN d.team_id = a.scope_id WHEN 'project' THEN d.project_id = a.scope_id
             ELSE d.key_id = a.scope_id END
       AND (a.only_tier IS NULL OR d.tier_id = a.only_tier)
       AND (a.only_model IS NULL OR d.model_id = a.only_model)
      GROUP BY GROUPING SETS ((a.number, d.key_id), (a.number, d.model_id))
    ),
    ranked AS (
      SELECT number, key_id, model_id, usd, row_number() OVER (
        PARTITION BY number, key_id IS NULL ORDER BY usd DESC, key_id, model_id) AS place
      FROM spent WHERE usd > 0
    )
    SELECT number, key_id, model_id, usd FROM ranked WHERE place <= {shown}
    ORDER BY number, key_id IS NULL, place
"""
Named = tuple[str, Decimal]
Cell = tuple[int, int | None, int | None, Decimal]  # the caller's number, the key or the model, US dollars


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What is looked at under a number of the caller's: a scope from a day on, or what a budget counts."""

    id: int
    scope_kind: ScopeKind
    scope_id: int
    first_day: date
    only_tier: int | None = None
    only_model_id: int | None = None


@dataclass(slots=True, kw_only=True)
class TopSpend:
    """The keys and models that spent most, the dearest first, in US dollars."""

    keys: list[Named] = field(default_factory=list)
    models: list[Named] = field(default_factory=list)


def top_spend(rows: Sequence[Counted], *, until: date) -> dict[int, TopSpend]:
    """Return what spent most of each by its number, to the organisation's day `until`. Three queries."""
    cells = _cells(rows, until)
    keys = _key_names({key for _, key, _, _ in cells if key is not None})
    names = {model for _, _, model, _ in cells if model is not None}
    models = dict(LlmModel.objects.filter(pk__in=names).values_list("pk", "name"))
    found = {row.id: TopSpend() for row in rows}
    for number, key, model, usd in cells:
        if key is not None:
            found[number].keys.append((keys.get(key, "A key"), usd))
        elif model is not None:
            found[number].models.append((models.get(model, "A model"), usd))
    return found


def _cells(rows: Sequence[Counted], until: date) -> list[Cell]:
    if not rows:
        return []
    first = min(row.first_day for row in rows)
    scope = scope_of([(row.scope_kind, row.scope_id) for row in rows])
    days = days_in(scope, custom(first, until)).values(*COLUMNS).order_by()
    try:
        sql, terms = days.query.sql_with_params()
    except EmptyResultSet:
        return []
    asked = (
        [row.id for row in rows],
        [row.scope_kind.value for row in rows],
        [row.scope_id for row in rows],
        [row.first_day for row in rows],
        [row.only_tier for row in rows],
        [row.only_model_id for row in rows],
    )
    with connection.cursor() as cursor:
        cursor.execute(TOP.format(days=sql, shown=SHOWN), [*terms, *asked])
        cells: list[Cell] = cursor.fetchall()
    return cells


def _key_names(key_ids: Iterable[int]) -> dict[int, str]:
    rows = ApiKey.objects.filter(pk__in=key_ids).values_list("pk", "name", "owner__name")
    return {pk: f"{name} of {owner}" for pk, name, owner in rows}
