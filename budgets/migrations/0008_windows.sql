-- The earliest instant at which clocks in `p_zone` show `p_local`; where they skip it, the instant of the skip. Where they show it twice, PostgreSQL
-- takes the later one: the earlier one is by the offset of the day before, however far the clocks went back.
CREATE OR REPLACE FUNCTION budgets_instant(p_local timestamp, p_zone text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  found timestamptz := p_local AT TIME ZONE p_zone;
  earlier timestamptz := found - ((found - interval '24 hours') AT TIME ZONE p_zone + interval '24 hours' - p_local);
BEGIN
  IF earlier < found AND earlier AT TIME ZONE p_zone = p_local THEN
    RETURN earlier;
  END IF;
  RETURN found;
END $$;

-- The half-open window [window_start, window_end) that holds `p_at`. The pure twin is budgets/windows.py.
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
  -- Clocks went back over midnight and show yesterday again, or jumped over it: the windows go on where they met.
  IF p_at >= window_end THEN
    window_start := window_end;
    window_end := budgets_instant(first + 2 * span, p_zone);
  ELSIF p_at < window_start THEN
    window_end := window_start;
    window_start := budgets_instant(first - span, p_zone);
  END IF;
END $$;
