-- Gives what the day roll-up has more than its events, by day, key and model, from `p_first` to `p_last`; no row where they agree. A day of which a part was retired is not counted.
CREATE FUNCTION usage_recount(p_first date, p_last date, p_zone text) RETURNS TABLE (day date, key_id bigint, model_id bigint, calls numeric, cost_usd numeric, tokens numeric)
LANGUAGE sql STABLE SET jit = off AS $$
  SELECT day, key_id, model_id, sum(calls), sum(cost_usd), sum(abs(input) + abs(cached) + abs(cache_write) + abs(output) + abs(reasoning))
  FROM (
    SELECT day, key_id, model_id, sum(calls) AS calls, sum(cost_usd) AS cost_usd, sum(input_tokens) AS input, sum(cached_tokens) AS cached, sum(cache_write_tokens) AS cache_write,
      sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning
    FROM (
      SELECT day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens
      FROM usage_day WHERE day BETWEEN p_first AND p_last
      UNION ALL
      SELECT (at AT TIME ZONE p_zone)::date, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, -calls, -cost_usd, -input_tokens, -cached_tokens, -cache_write_tokens,
        -output_tokens, -reasoning_tokens
      FROM usage_event WHERE at >= p_first::timestamp AT TIME ZONE 'UTC' - interval '1 day' AND at < p_last::timestamp AT TIME ZONE 'UTC' + interval '2 days'
        AND (at AT TIME ZONE p_zone)::date BETWEEN p_first AND p_last
    ) books GROUP BY day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id
  ) differing
  WHERE (calls, cost_usd, input, cached, cache_write, output, reasoning) <> (0, 0, 0, 0, 0, 0, 0)
    AND day::timestamp AT TIME ZONE p_zone >= coalesce((SELECT max(month) + interval '1 month' FROM usage_retired_month)::timestamp AT TIME ZONE 'UTC', '-infinity')
  GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
$$;

-- Drops the single calls of the oldest month that there is, both sides of them, when its days recount: `retired`. Otherwise nothing changes, and the answer says why: `missing`, `young`
-- (it ended less than two months ago), `not_oldest`, `open` (a call of it may still settle), `differs`.
CREATE FUNCTION usage_retire_month(p_month date, p_zone text) RETURNS text LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  v_month date := date_trunc('month', p_month::timestamp)::date;
  v_start timestamptz := v_month::timestamp AT TIME ZONE 'UTC';
  v_end timestamptz := (v_month + interval '1 month') AT TIME ZONE 'UTC';
  v_event text := 'usage_call' || to_char(v_month, '_YYYY_MM');
  v_call text := 'usage_gateway_call' || to_char(v_month, '_YYYY_MM');
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('usage_retire', 0));
  IF to_regclass(v_event) IS NULL THEN RETURN 'missing'; END IF;
  IF v_end > clock_timestamp() - interval '2 months' THEN RETURN 'young'; END IF;
  IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage_call'::regclass AND c.relname < v_event) THEN RETURN 'not_oldest'; END IF;
  IF EXISTS (SELECT FROM budgets_reservation WHERE state = 'open' AND authorized_at < v_end) THEN RETURN 'open'; END IF;
  EXECUTE format('LOCK TABLE %I IN SHARE MODE', v_event);  -- nothing is booked between the recount and the end
  IF EXISTS (SELECT FROM usage_recount((v_start AT TIME ZONE p_zone)::date, ((v_end - interval '1 microsecond') AT TIME ZONE p_zone)::date, p_zone)) THEN RETURN 'differs'; END IF;
  INSERT INTO usage_retired_month (month, calls, cost_usd, retired_at)
    SELECT v_month, coalesce(sum(calls), 0), coalesce(sum(cost_usd), 0), clock_timestamp() FROM usage_event WHERE at >= v_start AND at < v_end;
  EXECUTE format('ALTER TABLE usage_call DETACH PARTITION %I', v_event);
  EXECUTE format('DROP TABLE %I', v_event);
  IF to_regclass(v_call) IS NOT NULL THEN
    EXECUTE format('ALTER TABLE usage_gateway_call DETACH PARTITION %I', v_call);
    EXECUTE format('DROP TABLE %I', v_call);
  END IF;
  RETURN 'retired';
END $$;
