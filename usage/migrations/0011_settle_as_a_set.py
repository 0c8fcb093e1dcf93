from pathlib import Path

from django.db import migrations

# A database that was made with an earlier text of these functions gets today's.
SETTLE = Path(__file__).with_name("0005_settle.sql").read_text(encoding="utf-8")
FORMER = """
DROP FUNCTION IF EXISTS usage_expire(interval, int, text);
DROP FUNCTION IF EXISTS usage_carry_booked(usage_posting[], text);
DROP FUNCTION IF EXISTS usage_settled_before(budgets_reservation, jsonb, bigint);
DROP FUNCTION IF EXISTS usage_settled_before(jsonb, bigint);
DROP FUNCTION IF EXISTS usage_settle(jsonb, text);
DROP FUNCTION IF EXISTS usage_resolve(bigint[], text[], bigint[], bigint[]);
DROP FUNCTION IF EXISTS usage_lock(bigint[]);
DROP FUNCTION IF EXISTS usage_book(usage_posting[], text);
DROP TYPE IF EXISTS usage_answer;
DROP TYPE IF EXISTS usage_posting;
"""
HOURS = """
INSERT INTO usage_hour (hour, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd,
    input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
  SELECT date_trunc('hour', at, 'UTC'), project_id, team_id, department_id, model_id, tier_id, sum(calls), sum(cost_usd),
    sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens)
  FROM usage_event WHERE at >= now() - interval '15 days' GROUP BY 1, 2, 3, 4, 5, 6;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0010_provider_figures")]
    operations = [
        migrations.RunSQL(FORMER + SETTLE, migrations.RunSQL.noop),
        migrations.RunSQL(HOURS, migrations.RunSQL.noop),
    ]
