"""The rules that join usage to the ledger, and the search for ids that name nothing.

Attribution is copied without foreign keys, so that old rows never change; what it names must still exist.
"""

# ruff: noqa: S608 - every part of a query is a constant of this code or a name of a model

from collections.abc import Iterator

from django.conf import settings
from django.db.models import ForeignKey, Model

from budgets.models import Budget, Entry, Lease, Reservation
from catalog.models import Price
from core.books import Rule
from keys.models import ApiKey
from usage.models import BlockedHour, CallAttribution, StoredCall, UsageDay, UsageHour

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

DAYS = Rule(
    name="usage_day_is_the_sum_of_its_events",
    params=(("zone", settings.TIME_ZONE),),
    query=f"""
    SELECT format('%%s key %%s model %%s', day, key_id, model_id), 'the day has more by ' || concat_ws(', ',
      {", ".join(f"CASE WHEN sum({name}) <> 0 THEN '{name} ' || sum({name}) END" for name in SUMS)})
    FROM (
      SELECT day, {ATTRIBUTION}, {", ".join(SUMS)}, NULL::timestamptz AS recorded_at FROM usage_day
      UNION ALL
      SELECT (at AT TIME ZONE %(zone)s)::date, {ATTRIBUTION}, {", ".join(f"-{name}" for name in SUMS)},
             recorded_at FROM usage_event
    ) both_books
    WHERE day::timestamp AT TIME ZONE %(zone)s >= {KEPT_FROM}
    GROUP BY day, {ATTRIBUTION}
    HAVING (%(since)s::timestamptz = '-infinity' OR max(recorded_at) >= %(since)s)
       AND ({" OR ".join(f"sum({name}) <> 0" for name in SUMS)})
    ORDER BY day, key_id, model_id
    """,
)
# Hours are kept for 14 days; one that has just become too old may be there or not.
HOURS = Rule(
    name="usage_hour_is_the_sum_of_its_events",
    query=f"""
    SELECT format('%%s project %%s model %%s', hour, project_id, model_id),
      'the hour has more by ' || concat_ws(', ',
      {", ".join(f"CASE WHEN sum({name}) <> 0 THEN '{name} ' || sum({name}) END" for name in SUMS)})
    FROM (
      SELECT hour, {HOURLY}, {", ".join(SUMS)}, NULL::timestamptz AS recorded_at FROM usage_hour
      UNION ALL
      SELECT date_trunc('hour', at, 'UTC'), {HOURLY}, {", ".join(f"-{name}" for name in SUMS)}, recorded_at
      FROM usage_event
    ) both_books
    WHERE hour >= now() - interval '13 days 23 hours'
    GROUP BY hour, {HOURLY}
    HAVING (%(since)s::timestamptz = '-infinity' OR max(recorded_at) >= %(since)s)
       AND ({" OR ".join(f"sum({name}) <> 0" for name in SUMS)})
    ORDER BY hour, project_id, model_id
    """,
)
# Calls without a reservation (imported) have entries that sum them by key, model and path, none of which
# reaches beyond the organisation's day.
COSTS = Rule(
    name="usage_of_a_call_is_what_its_entries_charge",
    params=(("zone", settings.TIME_ZONE),),
    query=f"""
    WITH kept AS (SELECT {KEPT_FROM} AS since)
    SELECT coalesce((SELECT public_id FROM budgets_reservation r WHERE r.id = reservation_id),
                    format('key %%s model %%s on %%s', key_id, model_id, day)),
           format('entries charge %%s, usage has %%s', sum(charged), sum(used))
    FROM (
      SELECT reservation_id, NULL::bigint AS key_id, NULL::bigint AS model_id, NULL::date AS day,
             recorded_at, amount_usd AS charged, 0::numeric AS used
      FROM budgets_entry CROSS JOIN kept WHERE reservation_id IS NOT NULL AND effective_at >= kept.since
      UNION ALL
      SELECT reservation_id, NULL, NULL, NULL, recorded_at, 0, cost_usd
      FROM usage_event WHERE reservation_id IS NOT NULL
      UNION ALL
      SELECT NULL, key_id, model_id, day, recorded_at, charged, used FROM (
        SELECT key_id, model_id, (effective_at AT TIME ZONE %(zone)s)::date AS day, recorded_at,
               amount_usd AS charged, 0::numeric AS used
        FROM budgets_entry
        WHERE reservation_id IS NULL AND key_id IS NOT NULL
        UNION ALL
        SELECT key_id, model_id, (at AT TIME ZONE %(zone)s)::date, recorded_at, 0, cost_usd
        FROM usage_event WHERE reservation_id IS NULL
      ) imported CROSS JOIN kept WHERE day::timestamp AT TIME ZONE %(zone)s >= kept.since
    ) both_books
    GROUP BY reservation_id, key_id, model_id, day
    HAVING sum(charged) <> sum(used) AND max(recorded_at) >= %(since)s
    ORDER BY reservation_id, key_id, model_id, day
    """,
)
EVENTS = Rule(
    name="usage_belongs_where_its_reservation_does",
    query="""
    SELECT u.external_id, 'differs from ' || coalesce(r.public_id, 'a reservation that does not exist')
    FROM usage_event u LEFT JOIN budgets_reservation r ON r.id = u.reservation_id
    WHERE u.reservation_id IS NOT NULL AND u.recorded_at >= %(since)s
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


def orphans(model: type[Model], *, name: str, at: str = "", arrays: dict[str, type[Model]]) -> Rule:
    """Return the rule that what a table names exists.

    `name` is the SQL of how a row is called, `at` the column of the time from which it matters; `arrays` are
    the columns that name several rows at once.
    """
    tests = {
        column: f"{column} IS NOT NULL AND {column} NOT IN ({known})" for column, known in _copied(model)
    }
    for column, target in arrays.items():
        missing = f"SELECT unnest({column}) EXCEPT SELECT id FROM {_table(target)}"
        tests[column] = f"EXISTS ({missing})"
    words = ", ".join(f"CASE WHEN {test} THEN '{column}' END" for column, test in tests.items())
    recent = f"{at} >= %(since)s AND" if at else ""
    return Rule(
        name=f"{_table(model)}_names_what_exists",
        query=f"""
        SELECT {name}, 'names what does not exist in ' || concat_ws(', ', {words}) FROM {_table(model)}
        WHERE {recent} ({" OR ".join(tests.values())}) ORDER BY 1
        """,
    )


RULES = (
    DAYS,
    HOURS,
    COSTS,
    EVENTS,
    SCOPES,
    orphans(Reservation, name="public_id", at="authorized_at", arrays={"budget_ids": Budget}),
    orphans(Entry, name="public_id", at="recorded_at", arrays={"budget_ids": Budget, "price_ids": Price}),
    orphans(Lease, name="public_id", at="opened_at", arrays={"budget_ids": Budget}),
    orphans(StoredCall, name="usage_name(packed, shape)", at="recorded_at", arrays={}),
    orphans(CallAttribution, name="'usage_attribution ' || id", arrays={}),
    orphans(UsageDay, name="'usage_day ' || id", arrays={}),
    orphans(UsageHour, name="'usage_hour ' || id", arrays={}),
    orphans(BlockedHour, name="'usage_blocked_hour ' || id", arrays={}),
)
