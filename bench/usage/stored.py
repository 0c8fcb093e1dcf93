"""Many stored calls at once, and their roll-up: what dashboards and reconciliation are measured on."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from bench.usage.world import MODELS, Callers
from core import clock

DAYS = 90
MODELS_OF_A_KEY = 3
# Each key calls three of the models; a few keys make most of the calls.
EVENTS = """
    INSERT INTO usage_event (source, external_id, at, recorded_at, key_id, owner_id, project_id, team_id,
      department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens,
      output_tokens, reasoning_tokens, units, finish, cache_hit, estimated, late, provider_call_id)
    SELECT %(source)s, md5(n::text), at, at, k.id, k.owner_id, p.id, p.team_id, t.department_id, m.id,
      m.tier_id, 1, ((input - input / 4) * 2.5 + input / 4 * 0.25 + output * 10) / 1000000, input, input / 4,
      0, output, 0, '{}', 'stop', false, false, true, ''
    FROM (SELECT n, now() - make_interval(secs => n * (%(days)s * 86400.0 / %(count)s)) AS at,
                 (power(random(), 2) * %(keys)s)::int %% %(keys)s AS key, n %% %(each)s AS turn,
                 (50 + random() * 3950)::bigint AS input, (1 + random() * 1499)::bigint AS output
          FROM generate_series(%(first)s, %(last)s) n OFFSET 0) c
    JOIN (SELECT *, row_number() OVER (ORDER BY id) - 1 AS number FROM keys_apikey) k ON k.number = c.key
    JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id
    JOIN catalog_llmmodel m ON m.name = 'usage-' || (k.number * 7 + c.turn) %% %(models)s
"""
DAYS_OF_EVENTS = """
    INSERT INTO usage_day (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id,
      calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT (at AT TIME ZONE %(zone)s)::date, key_id, owner_id, project_id, team_id, department_id, model_id,
      tier_id, sum(calls), sum(cost_usd), sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
      sum(output_tokens), sum(reasoning_tokens)
    FROM usage_event GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
PART = 500_000


def store(callers: Callers, count: int) -> None:
    """Write `count` calls of the last 90 days and their day roll-up, without ledger entries."""
    terms: dict[str, Any] = {
        "source": callers.source,
        "days": DAYS,
        "count": count,
        "keys": len(callers.keys),
        "each": MODELS_OF_A_KEY,
        "models": MODELS,
        "zone": settings.TIME_ZONE,
    }
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        today = clock.now().date()
        cursor.execute("SELECT usage_make_partitions(%s, %s)", [today - timedelta(days=DAYS + 1), today])
        for first in range(0, count, PART):
            cursor.execute(EVENTS, {**terms, "first": first, "last": min(first + PART, count) - 1})
        cursor.execute(DAYS_OF_EVENTS, terms)
        cursor.execute("SELECT usage_fold()")  # as a job does every ten minutes
        cursor.execute("VACUUM ANALYZE")
