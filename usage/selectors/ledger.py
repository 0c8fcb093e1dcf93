"""The rules that join usage to the ledger, and the search for ids that name nothing.

Attribution is copied without foreign keys, so that old rows never change; what it names must still exist.
"""

# ruff: noqa: S608 - every part of a query is a constant of this code or a name of a model

from collections.abc import Iterator
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import ForeignKey, Model

from budgets.models import Budget, Entry, Lease, Reservation
from catalog.models import Price
from core.books import Cut, Rule, by_hour, by_id
from keys.models import ApiKey
from usage.models import BlockedHour, CallAttribution, ProjectDay, StoredCall, UsageDay, UsageHour
from usage.selectors.rollup import FOLDED

ATTRIBUTION = "key_id, model_id, project_id, team_id, department_id, owner_id, tier_id"
HOURLY = "project_id, model_id, team_id, department_id, tier_id"
SUMS = (
    "calls",
    "cost_usd",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)


# From when on single calls are kept: what was before is in roll-ups and entries alone (usage_retire_month).
KEPT_FROM = (
    "coalesce((SELECT max(month) + interval '1 month' FROM usage_retired_month)::timestamp"
    " AT TIME ZONE 'UTC', '-infinity')"
)

# The first call of which anything is kept, or a little before.
OLDEST = """least((SELECT min(day)::timestamp AT TIME ZONE 'UTC' - interval '1 day' FROM usage_day),
      (SELECT authorized_at FROM budgets_reservation ORDER BY id LIMIT 1))"""
BY_HOUR = by_hour(OLDEST)
BY_DAY = Cut(
    span="""
    SELECT coalesce(min(day), current_date) - DATE '0001-01-01' + 1, current_date - DATE '0001-01-01' + 2
    FROM usage_day
    """,
    width=7,
    moment=lambda day: datetime.combine(date.fromordinal(day), time.min, tzinfo=ZoneInfo(settings.TIME_ZONE)),
)
WITHIN = "{0} >= %(from_at)s AND {0} < %(to_at)s"
AT = WITHIN.format("at")

DAYS = Rule(
    name="usage_day_is_the_sum_of_its_events",
    cut=BY_DAY,
    params=(("zone", settings.TIME_ZONE),),
    query=f"""
    SELECT format('%%s key %%s model %%s', day, key_id, model_id), 'the day has more by ' || concat_ws(', ',
      {", ".join(f"CASE WHEN sum({name}) <> 0 THEN '{name} ' || sum({name}) END" for name in SUMS)})
    FROM (
      SELECT day, {ATTRIBUTION}, {", ".join(SUMS)}, NULL::timestamptz AS recorded_at FROM usage_day
      WHERE {WITHIN.format("day::timestamp AT TIME ZONE %(zone)s")}
      UNION ALL
      SELECT (at AT TIME ZONE %(zone)s)::date, {ATTRIBUTION}, {", ".join(f"-{name}" for name in SUMS)},
             recorded_at FROM usage_event WHERE {AT}
    ) both_books
    WHERE day::timestamp AT TIME ZONE %(zone)s >= {KEPT_FROM}
    GROUP BY day, {ATTRIBUTION}
    HAVING (%(since)s::timestamptz = '-infinity' OR max(recorded_at) >= %(since)s)
       AND ({" OR ".join(f"sum({name}) <> 0" for name in SUMS)})
    ORDER BY day, key_id, model_id
    """,
)
FOLDED_DAYS = Rule(
    name="usage_project_day_is_the_sum_of_its_days",
    cut=BY_DAY,
    params=(("zone", settings.TIME_ZONE),),
    query=f"""
    SELECT format('%%s project %%s team %%s', day, project_id, team_id),
           'the sum has more by $' || sum(cost_usd)
    FROM (
      SELECT day, project_id, team_id, department_id, cost_usd FROM usage_project_day
      UNION ALL SELECT day, project_id, team_id, department_id, -cost_usd FROM usage_day
    ) both_books
    WHERE day < {FOLDED} AND {WITHIN.format("day::timestamp AT TIME ZONE %(zone)s")}
    GROUP BY day, project_id, team_id, department_id HAVING sum(cost_usd) <> 0
    ORDER BY day, project_id, team_id
    """,
)
# Hours are kept for 14 days; one that has just become too old may be there or not.
HOURS = Rule(
    name="usage_hour_is_the_sum_of_its_events",
    cut=by_hour("now() - interval '14 days'"),
    query=f"""
    SELECT format('%%s project %%s model %%s', hour, project_id, model_id),
      'the hour has more by ' || concat_ws(', ',
      {", ".join(f"CASE WHEN sum({name}) <> 0 THEN '{name} ' || sum({name}) END" for name in SUMS)})
    FROM (
      SELECT hour, {HOURLY}, {", ".join(SUMS)}, NULL::timestamptz AS recorded_at FROM usage_hour
      WHERE {WITHIN.format("hour")}
      UNION ALL
      SELECT date_trunc('hour', at, 'UTC'), {HOURLY}, {", ".join(f"-{name}" for name in SUMS)}, recorded_at
      FROM usage_event WHERE {AT} AND at >= now() - interval '14 days'
    ) both_books
    WHERE hour >= now() - interval '13 days 23 hours'
    GROUP BY hour, {HOURLY}
    HAVING (%(since)s::timestamptz = '-infinity' OR max(recorded_at) >= %(since)s)
       AND ({" OR ".join(f"sum({name}) <> 0" for name in SUMS)})
    ORDER BY hour, project_id, model_id
    """,
)
# What is charged for a call, and what was used by it, stand at the moment of its authorisation.
COSTS = Rule(
    name="usage_of_a_call_is_what_its_entries_charge",
    cut=BY_HOUR,
    query=f"""
    WITH kept AS (SELECT {KEPT_FROM} AS since)
    SELECT (SELECT public_id FROM budgets_reservation r WHERE r.id = reservation_id),
           format('entries charge %%s, usage has %%s', sum(charged), sum(used))
    FROM (
      SELECT reservation_id, recorded_at, amount_usd AS charged, 0::numeric AS used
      FROM budgets_entry CROSS JOIN kept
      WHERE reservation_id IS NOT NULL AND effective_at >= kept.since AND {WITHIN.format("effective_at")}
      UNION ALL
      SELECT reservation_id, recorded_at, 0, cost_usd
      FROM usage_event WHERE reservation_id IS NOT NULL AND {AT}
    ) both_books
    GROUP BY reservation_id
    HAVING sum(charged) <> sum(used) AND max(recorded_at) >= %(since)s
    ORDER BY reservation_id
    """,
)
# Calls without a reservation (imported) have entries that sum them by key, model and path, none of which
# reaches beyond the organisation's day.
IMPORTED = Rule(
    name="imported_usage_is_what_its_entries_charge",
    cut=BY_DAY,
    params=(("zone", settings.TIME_ZONE),),
    query=f"""
    WITH kept AS (SELECT {KEPT_FROM} AS since)
    SELECT format('key %%s model %%s on %%s', key_id, model_id, day),
           format('entries charge %%s, usage has %%s', sum(charged), sum(used))
    FROM (
      SELECT key_id, model_id, (effective_at AT TIME ZONE %(zone)s)::date AS day, recorded_at,
             amount_usd AS charged, 0::numeric AS used
      FROM budgets_entry
      WHERE reservation_id IS NULL AND key_id IS NOT NULL AND {WITHIN.format("effective_at")}
      UNION ALL
      SELECT key_id, model_id, (at AT TIME ZONE %(zone)s)::date, recorded_at, 0, cost_usd
      FROM usage_event WHERE reservation_id IS NULL AND {AT}
    ) both_books CROSS JOIN kept WHERE day::timestamp AT TIME ZONE %(zone)s >= kept.since
    GROUP BY key_id, model_id, day
    HAVING sum(charged) <> sum(used) AND max(recorded_at) >= %(since)s
    ORDER BY key_id, model_id, day
    """,
)
EVENTS = Rule(
    name="usage_belongs_where_its_reservation_does",
    cut=BY_HOUR,
    query=f"""
    SELECT u.external_id, 'differs from ' || coalesce(r.public_id, 'a reservation that does not exist')
    FROM usage_event u LEFT JOIN budgets_reservation r ON r.id = u.reservation_id
    WHERE u.reservation_id IS NOT NULL AND u.recorded_at >= %(since)s AND {AT}
      AND (u.source, u.at, u.key_id, u.owner_id, u.project_id, u.team_id, u.department_id) IS DISTINCT FROM
          (r.source, r.authorized_at, r.key_id, r.owner_id, r.project_id, r.team_id, r.department_id)
    ORDER BY u.at, u.external_id
    """,
)
SCOPES = Rule(
    name="scope_exists",
    query="""
    SELECT public_id, format('is for %%s %%s, which does not exist', scope_kind, scope_id)
    FROM (SELECT public_id, scope_kind, scope_id FROM budgets_budget
          UNION ALL SELECT public_id, scope_kind, scope_id FROM budgets_ratelimit) scoped
    WHERE scope_kind <> 'organisation' AND (budgets_scope_of(scope_kind, scope_id)).department_id IS NULL
    ORDER BY public_id
    """,
)


def _table(model: type[Model]) -> str:
    return model._meta.db_table  # noqa: SLF001  Django's public name for it


def _copied(model: type[Model]) -> Iterator[tuple[str, str]]:
    """Give the columns that name a row without a foreign key, each with the query for what may be named."""
    for field in model._meta.concrete_fields:  # noqa: SLF001  as above
        if isinstance(field, ForeignKey) and not field.db_constraint:  # type: ignore[attr-defined]
            target = field.related_model
            yield field.column, f"SELECT {field.target_field.column} FROM {_table(target)}"
        elif field.column == "key_id":
            yield field.column, f"SELECT id FROM {_table(ApiKey)}"


def orphans(
    model: type[Model], *, name: str, at: str = "", arrays: dict[str, type[Model]], cut: Cut | None = None
) -> Rule:
    """Return the rule that what a table names exists.

    `name` is the SQL of how a row is called, `at` the column of the time from which it matters; `arrays` are
    the columns that name several rows at once. It is cut along its ids, or as `cut` says.
    """
    tests = {
        column: f"{column} IS NOT NULL AND {column} NOT IN ({known})" for column, known in _copied(model)
    }
    for column, target in arrays.items():
        missing = f"SELECT unnest({column}) EXCEPT SELECT id FROM {_table(target)}"
        tests[column] = f"EXISTS ({missing})"
    words = ", ".join(f"CASE WHEN {test} THEN '{column}' END" for column, test in tests.items())
    recent = f"{at} >= %(since)s AND" if at else ""
    piece = AT if cut else "id BETWEEN %(first)s AND %(last)s"
    return Rule(
        name=f"{_table(model)}_names_what_exists",
        cut=cut or by_id(_table(model)),
        query=f"""
        SELECT {name}, 'names what does not exist in ' || concat_ws(', ', {words}) FROM {_table(model)}
        WHERE {recent} {piece} AND ({" OR ".join(tests.values())}) ORDER BY 1
        """,
    )


RULES = (
    DAYS,
    FOLDED_DAYS,
    HOURS,
    COSTS,
    IMPORTED,
    EVENTS,
    SCOPES,
    orphans(Reservation, name="public_id", at="authorized_at", arrays={"budget_ids": Budget}),
    orphans(Entry, name="public_id", at="recorded_at", arrays={"budget_ids": Budget, "price_ids": Price}),
    orphans(Lease, name="public_id", at="opened_at", arrays={"budget_ids": Budget}),
    orphans(StoredCall, name="usage_name(packed, shape)", at="recorded_at", arrays={}, cut=BY_HOUR),
    orphans(CallAttribution, name="'usage_attribution ' || id", arrays={}),
    orphans(UsageDay, name="'usage_day ' || id", arrays={}),
    orphans(ProjectDay, name="'usage_project_day ' || id", arrays={}),
    orphans(UsageHour, name="'usage_hour ' || id", arrays={}),
    orphans(BlockedHour, name="'usage_blocked_hour ' || id", arrays={}),
)
