"""Both sides of a day, call by call: sums by hour first, and single calls only of the hours that differ."""

# ruff: noqa: S608 - every part of a query is a constant of this code

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from core import clock
from core.money import ZERO

SETTLES_WITHIN = timedelta(minutes=15)  # MISSING_AT_PORTAL counts after this
REPORTS_WITHIN = timedelta(hours=2)  # MISSING_AT_GATEWAY counts after this
HOUR = timedelta(hours=1)
NEARBY = HOUR  # the same answer twice, over midnight
# Whole days are read, on every core.
FOR_LONG_READS = {"work_mem": "64MB", "statement_timeout": "90s", "parallel_setup_cost": "0"}

# Rows of the ledger that are a call, and those that put one right ("<the call>:<why>").
A_CALL = "calls = 1 AND NOT (estimated AND external_id LIKE '%%:unsettled')"
PUTS_RIGHT = "calls <> 1 AND external_id NOT LIKE '%%:reversal' AND external_id NOT LIKE 'volume:%%'"
# A call that nobody decided was told by the gateway itself, in a push or a log: its row is both sides.
TOLD = "late AND reservation_id IS NULL"
# One number for many calls, whatever their order: for their ids with tokens and, where the gateway tells
# costs, with costs; and for the ids alone.
IDS = "bit_xor(hashtextextended(external_id, 0)) AS ids"
CALL = """hashtextextended(external_id,
      input_tokens * 1000003 + output_tokens * 1009 + cached_tokens * 31 + cache_write_tokens)"""
PRICED_CALL = f"hash_numeric_extended(cost_usd, {CALL})"
NO_COST = "cost_usd = 0 AND NOT cache_hit AND input_tokens + output_tokens > 0"
# A join tells the planner that there are few hours, so that each core sums its own share of the rows.
BY_HOUR = """JOIN generate_series(%(nearby)s, %(start)s + interval '23 hours', '1 hour') AS hour
    ON hour = date_bin('1 hour', at, %(start)s)"""
# Calls of the ledger as they are stored: usage_event would look up whose each is.
LEDGER = """(SELECT %(source)s::text AS source, at, calls, cost_usd, cache_hit, estimated, attribution_id,
    usage_name(packed, shape) AS external_id, coalesce(provider_call_id, '') AS provider_call_id,
    input_tokens::bigint AS input_tokens, output_tokens::bigint AS output_tokens,
    coalesce(cached_tokens, 0)::bigint AS cached_tokens,
    coalesce(cache_write_tokens, 0)::bigint AS cache_write_tokens
  FROM usage_call WHERE source_id = %(source_id)s)"""
COUNTED = {LEDGER: A_CALL, "usage_gateway_call": "NOT released"}

ABOUT_SQL = """
SELECT (SELECT id FROM usage_source WHERE name = %(source)s),
  ARRAY(SELECT a.id FROM usage_attribution a JOIN catalog_llmmodel m ON m.id = a.model_id
        WHERE m.declared_free),
  EXISTS (SELECT FROM usage_gateway_call WHERE source = %(source)s AND at >= %(start)s AND at < %(end)s
    AND NOT released AND cost_usd IS NOT NULL)
"""
HOURS_SQL = f"""
WITH portal AS MATERIALIZED (
  SELECT hour, sum(calls) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd, bit_xor({{call}}) AS mark,
    count(*) FILTER (WHERE calls <> 1 OR {NO_COST} AND attribution_id <> ALL (%(free)s)) AS odd
  FROM {LEDGER} AS ledger {BY_HOUR}
  WHERE at >= %(nearby)s AND at < %(end)s AND ({A_CALL} OR {PUTS_RIGHT}) GROUP BY 1
), gateway AS MATERIALIZED (
  SELECT hour, count(*) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    bit_xor({{call}}) AS mark, count(*) FILTER (WHERE {NO_COST}) AS odd
  FROM usage_gateway_call {BY_HOUR}
  WHERE source = %(source)s AND at >= %(start)s AND at < %(end)s AND NOT released GROUP BY 1
)
SELECT hour, coalesce(p.calls, 0), coalesce(p.input_tokens, 0), coalesce(p.output_tokens, 0),
  coalesce(p.cost_usd, 0), coalesce(g.calls, 0), coalesce(g.input_tokens, 0), coalesce(g.output_tokens, 0),
  NOT %(alone)s AND (p.calls, p.mark) IS DISTINCT FROM (g.calls, g.mark) OR p.odd > 0 OR g.odd > 0, p.mark
FROM portal p FULL JOIN gateway g USING (hour) ORDER BY hour
"""
# Of the hours that differ, those in which not even the same calls are known.
OTHERS_SQL = f"""
SELECT hour FROM (
  SELECT hour, {IDS} FROM {LEDGER} AS ledger {BY_HOUR}
  WHERE ({{spans}}) AND ({A_CALL} OR {PUTS_RIGHT}) GROUP BY 1
) p FULL JOIN (
  SELECT hour, {IDS} FROM usage_gateway_call {BY_HOUR}
  WHERE source = %(source)s AND ({{spans}}) AND NOT released GROUP BY 1
) g USING (hour) WHERE p.ids IS DISTINCT FROM g.ids ORDER BY hour
"""

# Ids of a day are nearly all different: sorted in shares, they take half of the time that hashing takes.
SORTED = "SELECT set_config('enable_hashagg', %s, true)"
TWICE_SQL = """
SELECT array_agg(DISTINCT c.provider_call_id) FROM (
  SELECT hashtextextended(provider_call_id, 0) AS mark FROM {table} AS t
  WHERE source = %(source)s AND at >= %(first)s AND at < %(last)s AND provider_call_id <> '' AND {counted}
  GROUP BY 1 HAVING count(*) > 1
) twice JOIN {table} AS c ON hashtextextended(c.provider_call_id, 0) = twice.mark
  AND c.source = %(source)s AND c.at >= %(first)s AND c.at < %(last)s AND {counted}
"""
# What is looked at call by call: the hours that differ, and answers that came twice wherever they are.
LOOKED_AT = "source = %(source)s AND at >= %(first)s AND at < %(last)s AND ({spans})"
TWIN = "provider_call_id = ANY (%(twice)s)"
TURN = """CASE WHEN coalesce(nullif(p.provider_call_id, ''), g.provider_call_id) = ANY (%(twice)s) THEN
      row_number() OVER (PARTITION BY coalesce(nullif(p.provider_call_id, ''), g.provider_call_id)
                         ORDER BY p.at IS NULL, coalesce(p.at, g.at), external_id) ELSE 1 END"""

# What the gateway told in pushes alone, in the hours that differ: its own record has no row of it.
PUSHED_SQL = f"""
SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) FROM usage_event e
WHERE {LOOKED_AT} AND calls = 1 AND {TOLD} AND NOT EXISTS (SELECT FROM usage_gateway_call g
  WHERE g.source = e.source AND g.external_id = e.external_id AND g.at = e.at)
"""

# The calls that differ, one row each: which, how, its figures on either side, and what the ledger lacks.
CALLS_SQL = f"""
WITH booked AS MATERIALIZED (
  SELECT external_id, at, recorded_at, model_id, cache_hit, provider_call_id, calls, input_tokens,
    cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost_usd,
    %(alone)s OR {TOLD} AS told
  FROM usage_event WHERE {LOOKED_AT} AND ({A_CALL} OR {PUTS_RIGHT})
), put_right AS (
  SELECT regexp_replace(external_id, ':[^:]*$', '') AS external_id, sum(calls) AS calls,
    sum(input_tokens)::bigint AS input_tokens, sum(cached_tokens)::bigint AS cached_tokens,
    sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(output_tokens)::bigint AS output_tokens,
    sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost_usd) AS cost_usd
  FROM booked WHERE calls <> 1 GROUP BY 1
), portal AS (
  SELECT e.external_id, e.at, e.recorded_at, e.model_id, e.cache_hit, e.provider_call_id, e.told,
    e.input_tokens + coalesce(r.input_tokens, 0) AS input_tokens,
    e.cached_tokens + coalesce(r.cached_tokens, 0) AS cached_tokens,
    e.cache_write_tokens + coalesce(r.cache_write_tokens, 0) AS cache_write_tokens,
    e.output_tokens + coalesce(r.output_tokens, 0) AS output_tokens,
    e.reasoning_tokens + coalesce(r.reasoning_tokens, 0) AS reasoning_tokens,
    e.cost_usd + coalesce(r.cost_usd, 0) AS cost_usd
  FROM booked e LEFT JOIN put_right r USING (external_id) WHERE e.calls = 1 AND coalesce(r.calls, 0) >= 0
), gateway AS (
  SELECT external_id, at, model_name, cache_hit, provider_call_id, input_tokens, cached_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, cost_usd
  FROM usage_gateway_call WHERE {LOOKED_AT} AND NOT released
), both_sides AS (
  SELECT external_id, coalesce(p.at, g.at) AS at, p.recorded_at, p.at IS NOT NULL AS at_portal,
    g.at IS NOT NULL AS at_gateway, p.told, p.model_id, coalesce(m.name, g.model_name) AS model_name,
    coalesce(p.cache_hit, g.cache_hit) OR coalesce(m.declared_free, false) AS may_be_free,
    p.input_tokens, p.cached_tokens, p.cache_write_tokens, p.output_tokens, p.reasoning_tokens, p.cost_usd,
    g.input_tokens AS g_input, g.cached_tokens AS g_cached, g.cache_write_tokens AS g_cache_write,
    g.output_tokens AS g_output, g.reasoning_tokens AS g_reasoning, g.cost_usd AS g_cost,
    {{turn}} AS turn
  FROM portal p FULL JOIN gateway g USING (external_id) LEFT JOIN catalog_llmmodel m ON m.id = p.model_id
), judged AS (
  SELECT b.*, CASE
      WHEN turn > 1 THEN 'duplicate'
      WHEN NOT at_portal THEN CASE WHEN at < %(settled_before)s THEN 'missing_at_portal' END
      WHEN NOT at_gateway AND told THEN CASE WHEN NOT may_be_free AND cost_usd = 0
        AND input_tokens + output_tokens > 0 THEN 'zero_cost' END
      WHEN NOT at_gateway THEN CASE WHEN recorded_at < %(reported_before)s THEN 'missing_at_gateway' END
      WHEN (input_tokens, cached_tokens, cache_write_tokens, output_tokens)
           <> (g_input, g_cached, g_cache_write, g_output) THEN 'token_mismatch'
      WHEN NOT may_be_free AND input_tokens + output_tokens > 0 AND (cost_usd = 0 OR g_cost = 0)
        THEN 'zero_cost'
      WHEN abs(g_cost - cost_usd) > greatest(0.00001, 0.001 * cost_usd) THEN 'price_mismatch' END AS kind
  FROM both_sides b WHERE at >= %(start)s
), priced AS (
  SELECT j.*, CASE kind
      WHEN 'missing_at_portal' THEN coalesce(g_cost, 0)
      WHEN 'missing_at_gateway' THEN cost_usd
      WHEN 'duplicate' THEN -coalesce(cost_usd, 0)
      WHEN 'price_mismatch' THEN g_cost - cost_usd
      WHEN 'zero_cost' THEN CASE WHEN cost_usd = 0 THEN worth.ours ELSE 0 END
      WHEN 'token_mismatch' THEN worth.theirs - worth.ours END AS amount_usd,
    kind <> 'token_mismatch' OR worth.distance > greatest(0.00001, 0.001 * cost_usd)
      OR NOT worth.known AS counts
  FROM judged j LEFT JOIN LATERAL (
    SELECT core_round_half_even((input_tokens - cached_tokens - cache_write_tokens) * c.input_usd
        + cached_tokens * c.cached_usd + cache_write_tokens * c.cache_write_usd
        + (output_tokens - reasoning_tokens) * c.output_usd + reasoning_tokens * c.reasoning_usd
        + c.request_usd, 12) AS ours,
      core_round_half_even((g_input - g_cached - g_cache_write) * c.input_usd + g_cached * c.cached_usd
        + g_cache_write * c.cache_write_usd + (g_output - g_reasoning) * c.output_usd
        + g_reasoning * c.reasoning_usd + c.request_usd, 12) AS theirs,
      abs(input_tokens - cached_tokens - cache_write_tokens - g_input + g_cached + g_cache_write)
        * c.input_usd
        + abs(cached_tokens - g_cached) * c.cached_usd
        + abs(cache_write_tokens - g_cache_write) * c.cache_write_usd
        + abs(output_tokens - g_output) * c.output_usd AS distance,
      c.input_usd + c.output_usd > 0 AS known
    FROM catalog_card(j.model_id, 'standard', j.at, j.input_tokens) c
  ) worth ON j.kind IN ('token_mismatch', 'zero_cost')
  WHERE kind IS NOT NULL
)
SELECT kind, external_id, at, coalesce(model_name, '') AS model_name, amount_usd,
  jsonb_build_object(
    'portal', jsonb_build_object('input', input_tokens, 'cached', cached_tokens,
      'cache_write', cache_write_tokens, 'output', output_tokens,
      'reasoning', reasoning_tokens, 'cost_usd', cost_usd::text),
    'gateway', jsonb_build_object('input', g_input, 'cached', g_cached, 'cache_write', g_cache_write,
      'output', g_output, 'reasoning', g_reasoning, 'cost_usd', g_cost::text)) AS detail
FROM priced WHERE counts
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """One side's figures of a day."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOfCalls:
    """Both sides' sums of a day, the hours in which they may differ, and the answers that came twice.

    `no_twins` stands for the ledger's calls, the hour before the day included, if no answer is there twice.
    """

    portal: Sums
    gateway: Sums
    hours: tuple[datetime, ...]
    twice: tuple[str, ...]
    no_twins: str

    @property
    def may_differ(self) -> bool:
        """Whether single calls have to be looked at."""
        return bool(self.hours or self.twice)

    def calls(self, window: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the query of the calls that differ, and its parameters."""
        spans, params = _spans(self.hours)
        if not self.twice:
            return CALLS_SQL.format(spans=spans, turn="1"), {**window, **params}
        wide = {"first": window["nearby"], "last": window["end"], "twice": list(self.twice)}
        spans = f"{spans} OR {TWIN}" if spans else TWIN
        return CALLS_SQL.format(spans=spans, turn=TURN), {**window, **params, **wide}


def day_of_calls(source: str, day: date, *, no_twins: str = "", alone: bool = False) -> DayOfCalls:
    """Compare a UTC day of a source by the hour. No single call leaves the database.

    Rows of the ledger are never changed: while its calls are those of `no_twins`, none is there twice. A
    source that is `alone` keeps no record of its own, so none of its calls is missed there.
    """
    window = window_of(source, day) | {"alone": alone}
    with connection.cursor() as cursor:
        cursor.execute(ABOUT_SQL, window)
        source_id, free, is_priced = cursor.fetchone()
        window |= {"source_id": source_id, "free": free}
        cursor.execute(HOURS_SQL.format(call=PRICED_CALL if is_priced else CALL), window)
        found = cursor.fetchall()
    calls = hashlib.sha256(repr([(row[0], row[1], row[9]) for row in found]).encode()).hexdigest()
    rows = [row for row in found if row[0] >= window["start"]]
    hours = tuple(row[0] for row in rows if row[8])
    twice = () if calls == no_twins else _twice(window, LEDGER, window["nearby"], window["end"])
    others = () if alone else _others(window, hours)
    at_gateway = (
        _twice(window, "usage_gateway_call", others[0] - NEARBY, others[-1] + 2 * NEARBY) if others else ()
    )
    return DayOfCalls(
        portal=_sums(row[1:5] for row in rows),
        gateway=_sums([*(row[5:8] for row in rows), *([] if alone else _pushed(window, hours))]),
        hours=hours,
        twice=tuple(sorted({*twice, *at_gateway})),
        no_twins="" if twice else calls,
    )


def window_of(source: str, day: date) -> dict[str, Any]:
    """Return the parameters of a source's UTC day."""
    start = datetime.combine(day, time.min, tzinfo=UTC)
    now = clock.now()
    return {
        "source": source,
        "start": start,
        "end": start + timedelta(days=1),
        "nearby": start - NEARBY,
        "settled_before": now - SETTLES_WITHIN,
        "reported_before": now - REPORTS_WITHIN,
    }


def _sums(rows: Iterable[Sequence[Any]]) -> Sums:
    columns = zip(*rows, strict=True)
    names = ("calls", "input_tokens", "output_tokens", "cost_usd")
    return Sums(**{name: sum(column) for name, column in zip(names, columns, strict=False)})


def _spans(hours: Sequence[datetime]) -> tuple[str, dict[str, Any]]:
    """Return the condition that a moment lies in one of these hours, and its parameters."""
    params: dict[str, Any] = {"first": hours[0], "last": hours[-1] + HOUR} if hours else {}
    for place, hour in enumerate(hours):
        params |= {f"from_{place}": hour, f"to_{place}": hour + HOUR}
    return " OR ".join(f"at >= %(from_{n})s AND at < %(to_{n})s" for n in range(len(hours))), params


def _others(window: Mapping[str, Any], hours: Sequence[datetime]) -> list[datetime]:
    """Return the hours, of those that differ, in which the two sides know other calls."""
    if not hours:
        return []
    spans, params = _spans(hours)
    with connection.cursor() as cursor:
        cursor.execute(OTHERS_SQL.format(spans=spans), {**window, **params})
        return [hour for (hour,) in cursor.fetchall()]


def _pushed(window: Mapping[str, Any], hours: Sequence[datetime]) -> list[tuple[int, int, int]]:
    if not hours:
        return []
    spans, params = _spans(hours)
    with connection.cursor() as cursor:
        cursor.execute(PUSHED_SQL.format(spans=spans), {**window, **params})
        return list(cursor.fetchall())


def _twice(window: Mapping[str, Any], table: str, first: datetime, last: datetime) -> tuple[str, ...]:
    """Return the provider's ids of answers that came twice to one side in [first, last).

    Those that both sides have twice are in the ledger; one that only the gateway has twice makes the ids of
    its hour differ.
    """
    query = TWICE_SQL.format(table=table, counted=COUNTED[table])
    with connection.cursor() as cursor:
        cursor.execute(SORTED, ["off"])
        cursor.execute(query, {**window, "first": first, "last": last})
        found = cursor.fetchone()[0] or ()
        cursor.execute(SORTED, ["on"])
    return tuple(found)
