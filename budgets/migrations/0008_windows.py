from django.db import migrations

from core.sql import sql_beside

# The functions as 0002 made them.
UNDO = """
CREATE OR REPLACE FUNCTION budgets_instant(p_local timestamp, p_zone text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  found timestamptz := p_local AT TIME ZONE p_zone;
BEGIN
  IF (found - interval '1 hour') AT TIME ZONE p_zone = p_local THEN
    RETURN found - interval '1 hour';
  END IF;
  RETURN found;
END $$;

CREATE OR REPLACE FUNCTION budgets_window(p_window text, p_anchor int, p_zone text, p_at timestamptz, OUT window_start timestamptz, OUT window_end timestamptz)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  today timestamp := date_trunc('day', p_at AT TIME ZONE p_zone);
  first timestamp;
  span interval;
BEGIN
  CASE p_window
    WHEN 'day' THEN first := today; span := '1 day';
    WHEN 'week' THEN first := today - make_interval(days => (extract(isodow FROM today)::int - p_anchor + 7) % 7); span := '7 days';
    WHEN 'month' THEN first := date_trunc('month', today); span := '1 month';
    WHEN 'quarter' THEN first := date_trunc('quarter', today); span := '3 months';
    WHEN 'fiscal_year' THEN
      first := date_trunc('month', today) - make_interval(months => (extract(month FROM today)::int - p_anchor + 12) % 12); span := '1 year';
    WHEN 'lifetime' THEN window_start := '2000-01-01T00:00:00Z'; window_end := '9000-01-01T00:00:00Z'; RETURN;
  END CASE;
  window_start := budgets_instant(first, p_zone);
  window_end := budgets_instant(first + span, p_zone);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0007_lean_indexes")]
    operations = [sql_beside(__file__, undo=UNDO)]
