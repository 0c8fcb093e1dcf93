"""Writes many calls at once as their settlements would have left them, in every book.

All is derived from one temporary table, so that the sums agree to the last digit.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import connection

from gateway.models import Gateway
from portal.demo.calls import Call

CALLS = """
    CREATE TEMPORARY TABLE demo_call (
      number int, id text, at timestamptz, day date, key_id bigint, owner_id bigint, project_id bigint,
      team_id bigint, department_id bigint, model_id bigint, model_name text, tier_id smallint,
      input_tokens bigint, cached_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
      cost_usd numeric, price_ids bigint[], finish text, cache_hit boolean
    ) ON COMMIT DROP
"""
# The budgets of a call and the windows it falls into: windows are whole days of the organisation's zone here.
PATHS = """
    CREATE TEMPORARY TABLE demo_path ON COMMIT DROP AS
    SELECT c.key_id, c.model_id, c.day, array_agg(b.id ORDER BY b.id) AS budget_ids,
           array_agg(w.window_start ORDER BY b.id) AS window_starts
    FROM (SELECT DISTINCT key_id, project_id, team_id, department_id, model_id, tier_id, day FROM demo_call) c
    JOIN budgets_budget b ON b.closed_at IS NULL AND (b.scope_kind, b.scope_id) IN (
        ('key', c.key_id), ('project', c.project_id), ('team', c.team_id), ('department', c.department_id),
        ('organisation', 0))
      AND (b.only_tier_id IS NULL OR b.only_tier_id = c.tier_id)
      AND (b.only_model_id IS NULL OR b.only_model_id = c.model_id)
    CROSS JOIN LATERAL budgets_window(b.window, b.window_anchor, b.time_zone,
                                      (c.day + time '12:00') AT TIME ZONE %(zone)s) w
    GROUP BY 1, 2, 3
"""
ENTRIES = """
    INSERT INTO budgets_entry (public_id, kind, amount_usd, budget_ids, window_starts, key_id, project_id,
      team_id, department_id, model_id, price_ids, tokens, overrun_usd, reason, effective_at, recorded_at)
    SELECT 'ent_' || left(md5('entry ' || c.id), 28), 'settle', c.cost_usd, coalesce(p.budget_ids, '{}'),
      coalesce(p.window_starts, '{}'), c.key_id, c.project_id, c.team_id, c.department_id, c.model_id,
      c.price_ids, jsonb_build_object('input', c.input_tokens, 'cached', c.cached_tokens, 'cache_write', 0,
                         'output', c.output_tokens, 'reasoning', c.reasoning_tokens),
      0, '', c.at, c.at + make_interval(secs => 3 + c.number %% 20)
    FROM demo_call c LEFT JOIN demo_path p USING (key_id, model_id, day) ORDER BY c.at, c.number
"""
BALANCES = """
    INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, reserved_usd)
    SELECT s.budget_id, s.window_start, w.window_end, s.usd, 0
    FROM (SELECT one.budget_id, one.window_start, sum(c.cost_usd) AS usd
          FROM demo_call c JOIN demo_path p USING (key_id, model_id, day) CROSS JOIN LATERAL
          unnest(p.budget_ids, p.window_starts) AS one (budget_id, window_start) GROUP BY 1, 2) s
    JOIN budgets_budget b ON b.id = s.budget_id
    CROSS JOIN LATERAL budgets_window(b.window, b.window_anchor, b.time_zone, s.window_start) w
"""
EVENTS = """
    INSERT INTO usage_event (source, external_id, at, recorded_at, key_id, owner_id, project_id, team_id,
      department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens,
      output_tokens, reasoning_tokens, finish, cache_hit, estimated, late, provider_call_id)
    SELECT %(source)s, id, at, at + make_interval(secs => 3 + number %% 20), key_id, owner_id, project_id,
      team_id, department_id, model_id, tier_id, 1, cost_usd, input_tokens, cached_tokens, 0,
      output_tokens, reasoning_tokens, finish, cache_hit, false, false, 'demo-' || number
    FROM demo_call ORDER BY at, number
"""
DAYS = """
    INSERT INTO usage_day (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id,
    calls,
      cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, count(*),
      sum(cost_usd), sum(input_tokens), sum(cached_tokens), 0, sum(output_tokens), sum(reasoning_tokens)
    FROM demo_call GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
# How fast keys spent (docs/adr/0024): the last hours by the minute, what is before them by the hour.
MINUTES = """
    INSERT INTO usage_key_minute (key_id, minute, cost_usd)
    SELECT key_id, date_trunc('minute', at), sum(cost_usd) FROM demo_call
    WHERE at >= date_trunc('hour', now() - interval '6 hours', 'UTC') GROUP BY 1, 2
"""
KEY_HOURS = """
    INSERT INTO usage_key_hour (key_id, hour, cost_usd)
    SELECT key_id, date_trunc('hour', at, 'UTC'), sum(cost_usd) FROM demo_call
    WHERE at < date_trunc('hour', now() - interval '6 hours', 'UTC') AND at >= now() - interval '28 days'
    GROUP BY 1, 2
"""
HOURS = """
    INSERT INTO usage_hour (hour, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd,
      input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT date_trunc('hour', at, 'UTC'), project_id, team_id, department_id, model_id, tier_id, count(*),
      sum(cost_usd), sum(input_tokens), sum(cached_tokens), 0, sum(output_tokens), sum(reasoning_tokens)
    FROM demo_call WHERE at >= now() - interval '14 days' GROUP BY 1, 2, 3, 4, 5, 6
"""
JOURNAL = """
    INSERT INTO usage_gateway_call (source, external_id, at, pulled_at, model_name, finish, cache_hit,
    released,
      input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT %(source)s, id, at, at + make_interval(secs => 60), model_name, finish, cache_hit, false,
      input_tokens, cached_tokens, 0, output_tokens, reasoning_tokens
    FROM demo_call ORDER BY at, number
"""
ANALYZED = (
    "budgets_entry, budgets_balance, usage_call, usage_day, usage_hour, usage_gateway_call, catalog_price"
)


def book(calls: Sequence[Call], gateway: Gateway) -> None:
    """Write the calls, as reported by this gateway, on every budget that is open now. Nine statements."""
    names = {"zone": settings.TIME_ZONE, "source": gateway.public_id}
    with connection.cursor() as cursor:
        cursor.execute(CALLS)
        with cursor.copy("COPY demo_call FROM STDIN") as copy:
            for row in _rows(calls):
                copy.write_row(row)
        cursor.execute("ANALYZE demo_call")
        for statement in (PATHS, ENTRIES, BALANCES, EVENTS, DAYS, HOURS, MINUTES, KEY_HOURS, JOURNAL):
            cursor.execute(statement, names)
        cursor.execute(f"ANALYZE {ANALYZED}")


def _rows(calls: Sequence[Call]) -> Iterator[tuple[Any, ...]]:
    for number, call in enumerate(sorted(calls, key=lambda call: call.at)):
        project, tokens = call.key.project, call.tokens
        yield (
            number, f"rsv_demo{number:020d}", call.at, call.day, call.key.pk, call.key.owner_id, project.pk,
            project.team_id, project.team.department_id, call.model.pk, call.model.name, call.model.tier_id,
            tokens.input_tokens, tokens.cached_tokens, tokens.output_tokens, tokens.reasoning_tokens,
            call.cost_usd, list(call.price_ids), call.finish, call.cache_hit,
        )  # fmt: skip
