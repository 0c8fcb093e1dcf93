-- Adds up what each five minutes of a time cost each project, keeps the sums of the hours, and returns the slots. A time is read once: what is told of it later is not in them.
-- Calls are found by their moment, new rows of one or two partitions; the settlement of a call has no part in it.
CREATE FUNCTION usage_keep_pace(p_from timestamptz, p_to timestamptz) RETURNS TABLE (project_id bigint, slot timestamptz, usd numeric) LANGUAGE sql AS $$
  WITH slots AS (
    SELECT a.project_id, date_bin('5 minutes', c.at, '2000-01-01 00:00+00') AS slot, greatest(sum(c.cost_usd), 0) AS usd
    FROM usage_call c JOIN usage_attribution a ON a.id = c.attribution_id
    WHERE c.at >= p_from AND c.at < p_to GROUP BY 1, 2
  ), kept AS (
    INSERT INTO usage_pace (project_id, hour, root_sum, cost_usd)
    SELECT s.project_id, date_trunc('hour', s.slot, 'UTC'), sum(sqrt(s.usd::float8)), sum(s.usd) FROM slots s WHERE s.usd > 0 GROUP BY 1, 2 ORDER BY 2, 1
    ON CONFLICT (hour, project_id) DO UPDATE SET root_sum = usage_pace.root_sum + EXCLUDED.root_sum, cost_usd = usage_pace.cost_usd + EXCLUDED.cost_usd
  )
  SELECT s.project_id, s.slot, s.usd FROM slots s WHERE s.usd > 0 ORDER BY 2, 1
$$;
CREATE TRIGGER spend_warning_is_append_only BEFORE UPDATE OR DELETE ON usage_spendwarning FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER spend_warning_is_not_truncated BEFORE TRUNCATE ON usage_spendwarning FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
