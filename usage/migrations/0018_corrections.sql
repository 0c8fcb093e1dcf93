-- A correction of a call that was charged: where it goes, and by how much each figure moves.
CREATE TYPE usage_correction AS (
  place int,
  source text,
  external_id text,         -- of the event that is corrected
  at timestamptz,
  entry_id bigint,          -- that charged it
  public_id text,           -- of the new entry
  amount_usd numeric,
  input_tokens bigint,
  cached_tokens bigint,
  cache_write_tokens bigint,
  output_tokens bigint,
  reasoning_tokens bigint,
  units jsonb,
  price_ids bigint[]
);

-- The entry that charged a call of usage, null where none did. An imported call is charged with others of its key, model, day and windows by one entry, which was booked
-- with it and stands at the first of them.
CREATE FUNCTION usage_charge_of(u usage_event) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN u.reservation_id IS NOT NULL THEN
      (SELECT e.id FROM budgets_entry e WHERE e.reservation_id = u.reservation_id AND e.kind IN ('settle', 'late') AND u.external_id NOT LIKE '%:unsettled')
    ELSE
      (SELECT e.id FROM budgets_entry e WHERE e.reservation_id IS NULL AND e.key_id = u.key_id AND e.model_id = u.model_id AND e.kind IN ('settle', 'late') AND e.recorded_at = u.recorded_at
         AND e.effective_at BETWEEN u.at - interval '25 hours' AND u.at ORDER BY e.effective_at DESC, (e.amount_usd = u.cost_usd) DESC, e.id LIMIT 1)
    END
$$;

-- Corrects calls that were charged: entries, usage, its sums by day and hour and the balances move together, each correction where its call stands. `p_items` are objects
-- {source, external_id, at, amount_usd} of events of usage, with the differences, positive or negative, of what else was wrong {input_tokens, cached_tokens,
-- cache_write_tokens, output_tokens, reasoning_tokens, units, price_ids, calls, context}; `calls` is -1 where the call itself is taken back, `context` the service class that it is in now. `p_ref` names the run that corrects (at most 40 characters): one run corrects a call once.
-- Answers, by place from 1: corrected with the public id of its entry; duplicate; unknown where no such call was charged (one that never settled is corrected by settling it).
CREATE FUNCTION usage_correct(p_ref text, p_actor bigint, p_reason text, p_items jsonb, p_zone text) RETURNS TABLE (place int, status text, entry text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz := clock_timestamp();
  v_items usage_correction[];
  v_made text[];
BEGIN
  IF p_ref !~ '^[A-Za-z0-9_.-]{1,40}$' THEN RAISE EXCEPTION 'a correction is named by 1 to 40 letters, digits, "_", "." or "-"' USING ERRCODE = 'invalid_parameter_value'; END IF;
  SELECT coalesce(array_agg(ROW(i.place, i.source, i.external_id, i.at, charge.id, 'ent_' || left(replace(gen_random_uuid()::text, '-', ''), 28), i.amount_usd, coalesce(i.input_tokens, 0),
      coalesce(i.cached_tokens, 0), coalesce(i.cache_write_tokens, 0), coalesce(i.output_tokens, 0), coalesce(i.reasoning_tokens, 0), coalesce(i.units, '{}'), i.price_ids)::usage_correction
      ORDER BY i.place), '{}') INTO v_items
    FROM ROWS FROM (jsonb_to_recordset(p_items) AS (source text, external_id text, at timestamptz, amount_usd numeric, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint,
        output_tokens bigint, reasoning_tokens bigint, units jsonb, price_ids bigint[])) WITH ORDINALITY
      AS i (source, external_id, at, amount_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, units, price_ids, place)
    LEFT JOIN usage_event u ON u.call_key = usage_key_of(i.source, i.external_id) AND u.at = i.at AND u.calls = 1
    CROSS JOIN LATERAL (SELECT usage_charge_of(u) AS id) charge;
  IF EXISTS (SELECT FROM unnest(v_items) i WHERE usage_closed_month(i.at, p_zone) IS NOT NULL) THEN
    RAISE EXCEPTION 'the books of this month are closed' USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  -- In the order of usage_book: hours, days, and at the end balances.
  PERFORM FROM usage_hour h
    JOIN (SELECT DISTINCT date_trunc('hour', c.at, 'UTC') AS hour, a.project_id, a.model_id, a.team_id, a.department_id, a.tier_id
          FROM unnest(v_items) i JOIN usage_call c ON usage_key(c.source_id, c.packed, c.shape) = usage_key_of(i.source, i.external_id) AND c.at = i.at
          JOIN usage_attribution a ON a.id = c.attribution_id WHERE i.entry_id IS NOT NULL) s USING (hour, project_id, model_id, team_id, department_id, tier_id)
    ORDER BY h.hour, h.project_id, h.model_id, h.team_id, h.department_id, h.tier_id FOR NO KEY UPDATE OF h;

  WITH item AS MATERIALIZED (
    SELECT DISTINCT ON (i.source, i.external_id, i.at) i.* FROM unnest(v_items) i WHERE i.entry_id IS NOT NULL ORDER BY i.source, i.external_id, i.at, i.place
  ), made AS (  -- a correction is no usual name: it is its own shape
    INSERT INTO usage_call (at, recorded_at, reservation_id, attribution_id, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, source_id, calls, cache_hit, estimated,
        late, cost_usd, shape, finish, units, provider_call_id, context)
      SELECT c.at, v_now, c.reservation_id, c.attribution_id, i.input_tokens, i.output_tokens, nullif(i.cached_tokens, 0), nullif(i.cache_write_tokens, 0), nullif(i.reasoning_tokens, 0), c.source_id,
        coalesce((p_items->(i.place - 1)->>'calls')::int, 0), c.cache_hit, c.estimated, c.late, i.amount_usd, i.external_id || ':' || p_ref, c.finish, nullif(i.units, '{}'), c.provider_call_id,
        p_items->(i.place - 1)->>'context'
      FROM item i JOIN usage_call c ON usage_key(c.source_id, c.packed, c.shape) = usage_key_of(i.source, i.external_id) AND c.at = i.at
      ON CONFLICT DO NOTHING RETURNING source_id, attribution_id, at, shape, calls, input_tokens, output_tokens, cost_usd
  ), correction AS MATERIALIZED (
    SELECT i.place, i.entry_id, i.public_id, i.price_ids, i.units, i.cached_tokens, i.cache_write_tokens, i.reasoning_tokens, made.at, made.calls, made.cost_usd, made.input_tokens, made.output_tokens,
      a.key_id, a.owner_id, a.project_id, a.team_id, a.department_id, a.model_id, a.tier_id
    FROM made JOIN usage_source s ON s.id = made.source_id JOIN usage_attribution a ON a.id = made.attribution_id
    JOIN item i ON i.source = s.name AND i.external_id || ':' || p_ref = made.shape AND i.at = made.at
  ), entered AS (
    INSERT INTO budgets_entry (public_id, kind, amount_usd, reservation_id, budget_ids, window_starts, key_id, project_id, team_id, department_id, model_id,
        price_ids, tokens, overrun_usd, actor_id, reason, corrects_id, effective_at, recorded_at)
      SELECT c.public_id, 'correction', c.cost_usd, e.reservation_id, e.budget_ids, e.window_starts, e.key_id, e.project_id, e.team_id, e.department_id, c.model_id, coalesce(c.price_ids, e.price_ids),
        c.units || jsonb_build_object('input', c.input_tokens, 'cached', c.cached_tokens, 'cache_write', c.cache_write_tokens, 'output', c.output_tokens, 'reasoning', c.reasoning_tokens),
        0, p_actor, left(p_reason, 240), e.id, e.effective_at, v_now
      FROM correction c JOIN budgets_entry e ON e.id = c.entry_id ORDER BY c.place
  ), days AS (
    INSERT INTO usage_day AS d (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
      SELECT (c.at AT TIME ZONE p_zone)::date, c.key_id, c.owner_id, c.project_id, c.team_id, c.department_id, c.model_id, c.tier_id, sum(c.calls), sum(c.cost_usd), sum(c.input_tokens), sum(c.cached_tokens),
        sum(c.cache_write_tokens), sum(c.output_tokens), sum(c.reasoning_tokens)
      FROM correction c GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
      ON CONFLICT (day, key_id, model_id, project_id, team_id, department_id, owner_id, tier_id) DO UPDATE SET
        calls = d.calls + excluded.calls, cost_usd = d.cost_usd + excluded.cost_usd, input_tokens = d.input_tokens + excluded.input_tokens, cached_tokens = d.cached_tokens + excluded.cached_tokens,
        cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens, output_tokens = d.output_tokens + excluded.output_tokens,
        reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens
  ), hours AS (  -- the hours of calls that are still kept by the hour
    UPDATE usage_hour h SET calls = h.calls + s.calls, cost_usd = h.cost_usd + s.cost_usd, input_tokens = h.input_tokens + s.input_tokens, cached_tokens = h.cached_tokens + s.cached_tokens,
        cache_write_tokens = h.cache_write_tokens + s.cache_write_tokens, output_tokens = h.output_tokens + s.output_tokens, reasoning_tokens = h.reasoning_tokens + s.reasoning_tokens
      FROM (SELECT date_trunc('hour', c.at, 'UTC') AS hour, c.project_id, c.model_id, c.team_id, c.department_id, c.tier_id, sum(c.calls) AS calls, sum(c.cost_usd) AS cost_usd, sum(c.input_tokens) AS input_tokens,
              sum(c.cached_tokens) AS cached_tokens, sum(c.cache_write_tokens) AS cache_write_tokens, sum(c.output_tokens) AS output_tokens, sum(c.reasoning_tokens) AS reasoning_tokens
            FROM correction c GROUP BY 1, 2, 3, 4, 5, 6) s
      WHERE h.hour = s.hour AND h.project_id = s.project_id AND h.model_id = s.model_id AND h.team_id = s.team_id AND h.department_id = s.department_id AND h.tier_id = s.tier_id
  )
  SELECT coalesce(array_agg(c.public_id), '{}') INTO v_made FROM correction c;

  PERFORM 1 FROM (SELECT DISTINCT path.budget_id, path.window_start FROM budgets_entry e CROSS JOIN LATERAL unnest(e.budget_ids, e.window_starts) AS path (budget_id, window_start)
                  WHERE e.public_id = ANY (v_made)) path
    JOIN budgets_balance b USING (budget_id, window_start) ORDER BY b.budget_id, b.window_start FOR NO KEY UPDATE OF b;
  UPDATE budgets_balance b SET spent_usd = b.spent_usd + moved.amount_usd
    FROM (SELECT path.budget_id, path.window_start, sum(e.amount_usd) AS amount_usd FROM budgets_entry e
            CROSS JOIN LATERAL unnest(e.budget_ids, e.window_starts) AS path (budget_id, window_start) WHERE e.public_id = ANY (v_made) GROUP BY 1, 2) moved
    WHERE b.budget_id = moved.budget_id AND b.window_start = moved.window_start;
  RETURN QUERY SELECT i.place, CASE WHEN i.entry_id IS NULL THEN 'unknown' WHEN i.public_id = ANY (v_made) THEN 'corrected' ELSE 'duplicate' END,
      CASE WHEN i.public_id = ANY (v_made) THEN i.public_id END
    FROM unnest(v_items) i ORDER BY i.place;
END $$;
