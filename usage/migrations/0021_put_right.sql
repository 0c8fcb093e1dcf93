CREATE TRIGGER ledger_correction_is_append_only BEFORE UPDATE OR DELETE ON usage_ledger_correction FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER ledger_correction_is_not_truncated BEFORE TRUNCATE ON usage_ledger_correction FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
CREATE TRIGGER period_figure_is_append_only BEFORE UPDATE OR DELETE ON usage_period_figure FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER period_figure_is_not_truncated BEFORE TRUNCATE ON usage_period_figure FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

-- A day of either side is read without its whole month; the calls of a day lie together.
CREATE INDEX usage_event_by_time ON usage_event USING brin (at) WITH (pages_per_range = 32);
CREATE INDEX usage_gateway_call_by_time ON usage_gateway_call USING brin (at) WITH (pages_per_range = 32);

-- The month that `p_at` falls into when it is closed, as its first day; null while it is open.
CREATE FUNCTION usage_closed_month(p_at timestamptz, p_zone text) RETURNS date LANGUAGE sql STABLE AS $$
  SELECT month FROM usage_period_close WHERE month = date_trunc('month', p_at AT TIME ZONE p_zone)::date AND state = 'closed'
$$;

-- Which open budgets bind usage with this attribution at a moment, each with the window of that moment; makes the balances that are missing.
CREATE FUNCTION usage_path(p_at timestamptz, p_key bigint, p_project bigint, p_team bigint, p_department bigint, p_model bigint, p_tier int, OUT budget_ids bigint[], OUT window_starts timestamptz[])
LANGUAGE plpgsql AS $$
BEGIN
  SELECT coalesce(array_agg(b.id ORDER BY b.id), '{}'), coalesce(array_agg(w.window_start ORDER BY b.id), '{}') INTO budget_ids, window_starts
    FROM budgets_path(p_key, p_project, p_team, p_department, p_tier, p_model) b CROSS JOIN LATERAL budgets_window(b.window, b.window_anchor, b.time_zone, p_at) w;
  PERFORM budgets_open_window(id, p_at) FROM unnest(budget_ids) id;
END $$;

-- Puts the ledger right: one entry with its usage, its sums by day and hour and its balances, in one step. An item that has an `external_id` is about a call that was
-- charged, and usage_correct books it where that call stands; one without is about a volume nobody saw call by call, has its attribution, and stands on the budgets of its moment. What is about
-- a closed month stands in the open one, at the moment it is booked, and answers with that month; what `stays` stands in the closed one all the same. Budgets and windows may be
-- named (`budget_ids`, `window_starts`). Differences are signed; `calls` is -1 where a call is taken back.
-- Raises no_data_found for a call that nothing was charged for.
CREATE FUNCTION usage_put_right(p_item jsonb, p_ref text, p_actor bigint, p_reason text, p_zone text, OUT entry bigint, OUT prior_period date) LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  q record;
  u usage_event;
  charge budgets_entry;
  made budgets_entry;
  v_correction text;
  v_parts bigint;
BEGIN
  SELECT * INTO q FROM jsonb_to_record(p_item) AS i (source text, external_id text, at timestamptz, key_id bigint, owner_id bigint, project_id bigint, team_id bigint, department_id bigint,
    model_id bigint, tier_id int, calls int, amount_usd numeric, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
    units jsonb, stays boolean, budget_ids bigint[], window_starts timestamptz[]);
  IF q.external_id IS NOT NULL THEN
    SELECT * INTO u FROM usage_event WHERE call_key = usage_key_of(q.source, q.external_id) AND at = q.at AND calls = 1;
    IF NOT FOUND THEN RAISE EXCEPTION 'no such call was charged' USING ERRCODE = 'no_data_found'; END IF;
    SELECT * INTO charge FROM budgets_entry e WHERE e.id = usage_charge_of(u);
    IF charge.id IS NULL THEN RAISE EXCEPTION 'no entry charges this call' USING ERRCODE = 'no_data_found'; END IF;
    IF usage_closed_month(u.at, p_zone) IS NULL THEN
      SELECT c.entry INTO v_correction FROM usage_correct(p_ref, p_actor, p_reason, jsonb_build_array(p_item), p_zone) c;
      SELECT e.id INTO STRICT entry FROM budgets_entry e WHERE e.public_id = v_correction;
      RETURN;
    END IF;
  ELSE
    SELECT q.source, 'volume', q.at, q.key_id, q.owner_id, q.project_id, q.team_id, q.department_id, q.model_id, q.tier_id
      INTO u.source, u.external_id, u.at, u.key_id, u.owner_id, u.project_id, u.team_id, u.department_id, u.model_id, u.tier_id;
    u.finish := 'stop'; u.cache_hit := false; u.provider_call_id := '';
  END IF;
  prior_period := CASE WHEN q.stays THEN NULL ELSE usage_closed_month(u.at, p_zone) END;
  made.effective_at := CASE WHEN prior_period IS NULL THEN u.at ELSE v_now END;
  IF q.budget_ids IS NOT NULL THEN
    made.budget_ids := q.budget_ids; made.window_starts := q.window_starts;
  ELSE
    SELECT p.budget_ids, p.window_starts INTO made.budget_ids, made.window_starts FROM usage_path(made.effective_at, u.key_id, u.project_id, u.team_id, u.department_id, u.model_id, u.tier_id) p;
  END IF;

  -- A volume may be more than the row of one call takes.
  v_parts := 1 + greatest(abs(q.calls) / 30000, greatest(abs(q.input_tokens), abs(q.cached_tokens), abs(q.cache_write_tokens), abs(q.output_tokens), abs(q.reasoning_tokens)) / 2000000000);
  INSERT INTO usage_event (source, external_id, at, recorded_at, reservation_id, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd,
      input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, units, finish, cache_hit, estimated, late, provider_call_id)
    SELECT u.source, u.external_id || ':' || p_ref || CASE WHEN rest = 0 THEN '.' || part ELSE '' END, made.effective_at, v_now, NULL, u.key_id, u.owner_id, u.project_id, u.team_id,
      u.department_id, u.model_id, u.tier_id, q.calls / v_parts + q.calls % v_parts * rest, q.amount_usd * rest, q.input_tokens / v_parts + q.input_tokens % v_parts * rest,
      q.cached_tokens / v_parts + q.cached_tokens % v_parts * rest, q.cache_write_tokens / v_parts + q.cache_write_tokens % v_parts * rest,
      q.output_tokens / v_parts + q.output_tokens % v_parts * rest, q.reasoning_tokens / v_parts + q.reasoning_tokens % v_parts * rest,
      CASE rest WHEN 1 THEN coalesce(q.units, '{}') ELSE '{}' END, u.finish, u.cache_hit, false, true, u.provider_call_id
    FROM generate_series(1, v_parts) part CROSS JOIN LATERAL (SELECT CASE WHEN part = 1 THEN 1 ELSE 0 END AS rest) first;
  INSERT INTO budgets_entry (public_id, kind, amount_usd, reservation_id, budget_ids, window_starts, key_id, project_id, team_id, department_id, model_id, price_ids, tokens, overrun_usd,
      actor_id, reason, prior_period, effective_at, recorded_at)
    VALUES ('ent_' || left(replace(gen_random_uuid()::text, '-', ''), 28), 'adjust', q.amount_usd, NULL, made.budget_ids, made.window_starts, u.key_id, u.project_id, u.team_id,
      u.department_id, u.model_id, coalesce(charge.price_ids, '{}'), coalesce(q.units, '{}') || jsonb_build_object('input', q.input_tokens, 'cached', q.cached_tokens, 'cache_write', q.cache_write_tokens,
      'output', q.output_tokens, 'reasoning', q.reasoning_tokens), 0, p_actor,
      left(CASE WHEN prior_period IS NULL THEN p_reason ELSE 'Prior period ' || to_char(prior_period, 'YYYY-MM') || ': ' || p_reason END, 240),
      usage_put_right.prior_period, made.effective_at, v_now)
    RETURNING id INTO entry;
  INSERT INTO usage_hour AS h (hour, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT date_trunc('hour', made.effective_at, 'UTC'), u.project_id, u.team_id, u.department_id, u.model_id, u.tier_id, q.calls, q.amount_usd, q.input_tokens, q.cached_tokens,
      q.cache_write_tokens, q.output_tokens, q.reasoning_tokens
    WHERE made.effective_at > v_now - interval '14 days'  -- hours are kept that long
    ON CONFLICT (hour, project_id, model_id, team_id, department_id, tier_id) DO UPDATE SET
      calls = h.calls + excluded.calls, cost_usd = h.cost_usd + excluded.cost_usd, input_tokens = h.input_tokens + excluded.input_tokens, cached_tokens = h.cached_tokens + excluded.cached_tokens,
      cache_write_tokens = h.cache_write_tokens + excluded.cache_write_tokens, output_tokens = h.output_tokens + excluded.output_tokens, reasoning_tokens = h.reasoning_tokens + excluded.reasoning_tokens;
  INSERT INTO usage_day AS d (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    VALUES ((made.effective_at AT TIME ZONE p_zone)::date, u.key_id, u.owner_id, u.project_id, u.team_id, u.department_id, u.model_id, u.tier_id, q.calls, q.amount_usd, q.input_tokens, q.cached_tokens,
      q.cache_write_tokens, q.output_tokens, q.reasoning_tokens)
    ON CONFLICT (day, key_id, model_id, project_id, team_id, department_id, owner_id, tier_id) DO UPDATE SET
      calls = d.calls + excluded.calls, cost_usd = d.cost_usd + excluded.cost_usd, input_tokens = d.input_tokens + excluded.input_tokens, cached_tokens = d.cached_tokens + excluded.cached_tokens,
      cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens, output_tokens = d.output_tokens + excluded.output_tokens, reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens;
  PERFORM 1 FROM unnest(made.budget_ids, made.window_starts) AS path (budget_id, window_start) JOIN budgets_balance b USING (budget_id, window_start)
    ORDER BY b.budget_id, b.window_start FOR NO KEY UPDATE OF b;
  UPDATE budgets_balance b SET spent_usd = b.spent_usd + q.amount_usd FROM unnest(made.budget_ids, made.window_starts) AS path (budget_id, window_start)
    WHERE b.budget_id = path.budget_id AND b.window_start = path.window_start;
END $$;

-- Takes what was just booked in a closed month to the open one, so that the closed one stays as it was: an adjustment takes it off there, another one adds it here and names the
-- month. `p_item` is as usage_put_right has one without an `external_id`. The call itself is counted where it was made, with its units; its money and tokens are carried.
CREATE FUNCTION usage_carry(p_item jsonb, p_ref text, p_zone text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_item jsonb := p_item - 'units' || '{"calls": 0}';
  v_what text := 'late usage of ' || to_char((p_item->>'at')::timestamptz AT TIME ZONE p_zone, 'YYYY-MM-DD');
BEGIN
  PERFORM usage_put_right(v_item || '{"stays": true}' || (SELECT jsonb_object_agg(name, -(v_item->>name)::numeric) FROM unnest('{amount_usd,input_tokens,cached_tokens,cache_write_tokens,output_tokens,reasoning_tokens}'::text[]) name),
    'carried.' || p_ref || '.out', NULL, 'Carried to the open month: ' || v_what, p_zone);
  PERFORM usage_put_right(v_item - 'budget_ids' - 'window_starts', 'carried.' || p_ref || '.in', NULL, v_what, p_zone);
END $$;
