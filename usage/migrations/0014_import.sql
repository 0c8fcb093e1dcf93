-- Calls that no reservation was made for: a gateway's log, told as it is. Rows are copied into a table of the transaction, then booked by as few statements as there are
-- books. How it goes, and why its ledger entries are sums: docs/adr/0014.
CREATE FUNCTION usage_import_begin() RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
  DROP TABLE IF EXISTS pg_temp.usage_import_row, pg_temp.usage_import_call, pg_temp.usage_import_seen, pg_temp.usage_import_caller, pg_temp.usage_import_budget, pg_temp.usage_import_sum, pg_temp.usage_import_charge, pg_temp.usage_import_move;  -- of a page before, in the same transaction
  CREATE TEMPORARY TABLE usage_import_row (place int, external_id text, key text, model text, project text, context text, provider_call_id text, at timestamptz, input_tokens bigint,
    cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint, reasoning_tokens bigint, units text, finish text, cache_hit boolean, estimated boolean) ON COMMIT DROP;
END $$;

-- Says of each copied row whose call it is, what it cost, and what becomes of it if it is not booked yet: `new`, or the reason why it cannot be. What is booked has no part in this and
-- nothing is locked, so that it is done while the page before is booked.
-- Calls of one model and context that fall between the same changes of its prices, and on the same step of its input, have one card; so a card is made once for all.
CREATE FUNCTION usage_import_place(p_source text) RETURNS void LANGUAGE plpgsql SET jit = off SET work_mem = '32MB' SET enable_mergejoin = off AS $$
DECLARE
  v_source smallint := usage_source_of(p_source);
BEGIN
  CREATE TEMPORARY TABLE usage_import_call ON COMMIT DROP AS
  WITH ladder AS (
    SELECT model_id, array_agg(DISTINCT change ORDER BY change) FILTER (WHERE change IS NOT NULL) AS changes, array_agg(DISTINCT tier_start::bigint ORDER BY tier_start::bigint) AS steps
    FROM catalog_price CROSS JOIN LATERAL (VALUES (valid_from), (valid_until)) AS of (change) GROUP BY 1
  ), placed AS (
    SELECT i.place, i.external_id, n.packed, n.shape, usage_key(v_source, n.packed, n.shape) AS call_key, i.at, i.context, i.provider_call_id, i.finish, i.cache_hit, i.estimated, i.input_tokens, i.cached_tokens, i.cache_write_tokens, i.output_tokens,
      i.reasoning_tokens, i.units::jsonb AS units, k.id AS key_id, k.owner_id, p.id AS project_id, p.team_id, t.department_id, m.id AS model_id, m.tier_id, m.declared_free,
      coalesce(width_bucket(i.at, l.changes), 0) AS epoch, coalesce(width_bucket(i.input_tokens, l.steps), 0) AS step,
      CASE WHEN k.id IS NULL THEN 'unknown_key' WHEN m.id IS NULL THEN 'unknown_model' WHEN i.project <> '' AND i.project <> p.code THEN 'unknown_project' END AS refusal
    FROM usage_import_row i
    CROSS JOIN LATERAL (SELECT b.packed, usage_shape(b.packed, i.external_id) AS shape FROM (SELECT usage_packed(v_source, i.external_id) AS packed OFFSET 0) b OFFSET 0) n
    LEFT JOIN keys_apikey k ON k.public_id = i.key
    LEFT JOIN teams_project p ON p.id = k.project_id
    LEFT JOIN teams_team t ON t.id = p.team_id
    LEFT JOIN (SELECT name, id FROM catalog_llmmodel UNION ALL SELECT name, model_id FROM catalog_alias) named ON named.name = i.model
    LEFT JOIN catalog_llmmodel m ON m.id = named.id
    LEFT JOIN ladder l ON l.model_id = m.id
  ), card AS (
    SELECT c.model_id, c.context, c.epoch, c.step, x.*
    FROM (SELECT model_id, context, epoch, step, min(at) AS at, min(input_tokens) AS input_tokens FROM placed GROUP BY 1, 2, 3, 4) c
    CROSS JOIN LATERAL catalog_card(c.model_id, c.context, c.at, c.input_tokens) x
  )
  SELECT judged.*, judged.outcome = 'new' AS is_new FROM (
  SELECT p.place, p.call_key, p.packed, p.shape, p.at, p.context, p.key_id, p.owner_id, p.project_id, p.team_id, p.department_id, p.model_id, p.tier_id, p.provider_call_id, p.finish, p.cache_hit, p.estimated,
    p.input_tokens, p.cached_tokens, p.cache_write_tokens, p.output_tokens, p.reasoning_tokens, p.units, card.price_ids,
    CASE WHEN p.cache_hit THEN 0 WHEN round(exact.usd, 12) = exact.usd THEN round(exact.usd, 12) ELSE core_round_half_even(exact.usd, 12) END AS cost_usd,
    CASE WHEN p.refusal IS NOT NULL THEN p.refusal
         WHEN p.external_id LIKE 'rsv\_%' AND EXISTS (SELECT FROM budgets_reservation r WHERE r.public_id = p.external_id AND r.source = p_source) THEN 'conflict'
         WHEN card.priced IS NOT TRUE AND NOT p.declared_free THEN 'unpriced'
         ELSE 'new' END AS outcome
  FROM placed p
  LEFT JOIN card USING (model_id, context, epoch, step)
  CROSS JOIN LATERAL (SELECT (p.input_tokens - p.cached_tokens - p.cache_write_tokens) * card.input_usd + p.cached_tokens * card.cached_usd + p.cache_write_tokens * card.cache_write_usd
    + (p.output_tokens - p.reasoning_tokens) * card.output_usd + p.reasoning_tokens * card.reasoning_usd + card.request_usd
    + CASE WHEN p.units IS NULL THEN 0 ELSE catalog_units_usd(p.units, card.unit_usd) END AS usd OFFSET 0) exact
  ) judged;
END $$;

-- Says what the books know of the placed calls: `bad_time` of those whose month is retired, and in a table of their own `known` or `conflict` of those that are booked, whatever they would be if they
-- were new. What has no key, model or project of ours stays so. A call is looked for under its name alone, at whatever moment within a month of the rows: told again with another moment it is no other call.
CREATE FUNCTION usage_import_judge() RETURNS void LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  v_first timestamptz;
  v_last timestamptz;
  v_kept timestamptz := (SELECT max(month) + interval '1 month' FROM usage_retired_month)::timestamp AT TIME ZONE 'UTC';
BEGIN
  SELECT min(at), max(at) INTO v_first, v_last FROM usage_import_call;
  IF v_first < v_kept THEN UPDATE usage_import_call SET outcome = 'bad_time', is_new = false WHERE at < v_kept; END IF;
  v_first := v_first - interval '31 days';
  v_last := v_last + interval '31 days';
  CREATE TEMPORARY TABLE usage_import_seen ON COMMIT DROP AS
  SELECT judged.place, CASE WHEN judged.same THEN 'known' ELSE 'conflict' END AS outcome,
    CASE WHEN NOT judged.same THEN 'booked at ' || judged.recorded_at || ' as a call of ' || judged.at || ' for $' || judged.cost_usd END AS detail
  FROM (
    SELECT p.place, seen.recorded_at, seen.at, seen.cost_usd,
      coalesce((seen.reservation_id IS NOT NULL OR seen.at = p.at AND coalesce(seen.context, 'standard') = p.context) AND (seen.external_id, seen.key_id, seen.model_id, seen.cache_hit, seen.input_tokens, seen.cached_tokens, seen.cache_write_tokens,
             seen.output_tokens, seen.reasoning_tokens, seen.units) = (usage_name(p.packed, p.shape), p.key_id, p.model_id, p.cache_hit, p.input_tokens, p.cached_tokens, p.cache_write_tokens, p.output_tokens,
             p.reasoning_tokens, coalesce(p.units, '{}')), false) AS same
    FROM usage_import_call p
    CROSS JOIN LATERAL (SELECT e.* FROM usage_event e WHERE e.call_key = p.call_key AND e.at >= v_first AND e.at <= v_last LIMIT 1) seen
    WHERE p.outcome IN ('new', 'unpriced', 'conflict') OFFSET 0
  ) judged;
  DELETE FROM usage_import_call p USING usage_import_seen seen WHERE seen.place = p.place;
END $$;

-- Gives the new calls their attribution: who called and what, as they were judged.
CREATE FUNCTION usage_import_callers() RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  CREATE TEMPORARY TABLE usage_import_caller ON COMMIT DROP AS
    SELECT c.*, coalesce((SELECT a.id FROM usage_attribution a WHERE a.key_id = c.key_id AND a.model_id = c.model_id AND a.owner_id = c.owner_id AND a.project_id = c.project_id
                            AND a.team_id = c.team_id AND a.department_id = c.department_id AND a.tier_id = c.tier_id LIMIT 1),
                         usage_attribution_of(c.key_id, c.owner_id, c.project_id, c.team_id, c.department_id, c.model_id, c.tier_id)) AS attribution_id
    FROM (SELECT key_id, model_id, any_value(owner_id) AS owner_id, any_value(project_id) AS project_id, any_value(team_id) AS team_id, any_value(department_id) AS department_id,
            any_value(tier_id) AS tier_id FROM usage_import_call WHERE is_new GROUP BY 1, 2) c;
  ANALYZE usage_import_caller;
END $$;

-- Adds units up: {"second": 3} and {"second": 4, "page": 1} are {"second": 7, "page": 1}. Nothing is skipped.
CREATE FUNCTION usage_add_units(p_sum jsonb, p_more jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT p_sum || coalesce((SELECT jsonb_object_agg(key, coalesce((p_sum->>key)::numeric, 0) + value::text::numeric) FROM jsonb_each(p_more)), '{}')
$$;
CREATE AGGREGATE usage_sum_of_units(jsonb) (SFUNC = usage_add_units, STYPE = jsonb, INITCOND = '{}');
CREATE AGGREGATE usage_joined(bigint[]) (SFUNC = array_cat, STYPE = bigint[], INITCOND = '{}');

-- Finds the open budgets that the new calls may count on, each with the starts of its windows as far as the calls reach.
CREATE FUNCTION usage_import_budgets(p_first timestamptz, p_last timestamptz) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  CREATE TEMPORARY TABLE usage_import_budget ON COMMIT DROP AS
  WITH RECURSIVE scope AS (
    SELECT DISTINCT s.kind, s.id FROM usage_import_caller c
    CROSS JOIN LATERAL (VALUES ('key', c.key_id), ('project', c.project_id), ('team', c.team_id), ('department', c.department_id), ('organisation', 0)) AS s (kind, id)
  ), budget AS (
    SELECT scope.kind, scope.id AS scope_id, b.id, b.only_tier_id, b.only_model_id, b."window"::text AS form, b.window_anchor::int AS anchor, b.time_zone::text AS zone
    FROM scope JOIN budgets_budget b ON b.scope_kind = scope.kind AND b.scope_id = scope.id AND b.closed_at IS NULL
  ), walk AS (
    SELECT f.*, w.window_start, w.window_end FROM (SELECT DISTINCT form, anchor, zone FROM budget) f CROSS JOIN LATERAL budgets_window(f.form, f.anchor, f.zone, p_first) w
    UNION ALL
    SELECT x.form, x.anchor, x.zone, w.window_start, w.window_end
    FROM walk x CROSS JOIN LATERAL budgets_window(x.form, x.anchor, x.zone, x.window_end) w WHERE x.window_end <= p_last
  )
  SELECT b.kind, b.scope_id, b.id, b.only_tier_id, b.only_model_id, w.starts
  FROM budget b JOIN (SELECT form, anchor, zone, array_agg(window_start ORDER BY window_start) AS starts FROM walk GROUP BY 1, 2, 3) w USING (form, anchor, zone);
  ANALYZE usage_import_budget;
END $$;

-- Books what was placed and answers, of each row that was not booked, its place, reason and detail, and how many were booked (`new`) and were booked before (`known`).
-- Two imports of one source wait for each other. Balances are locked last, and only while sums are written to them and to the roll-ups: in the order of a settlement.
CREATE FUNCTION usage_import(p_source text, p_zone text, p_reason text, p_hours_from timestamptz) RETURNS TABLE (place int, outcome text, detail text, calls bigint)
LANGUAGE plpgsql SET jit = off SET work_mem = '32MB' AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz := clock_timestamp();
  v_source smallint;
  v_cuts timestamptz[];
  v_first timestamptz;
  v_last timestamptz;
  v_new bigint;
  v_known bigint;
  v_seen bigint;
  v_all bigint;
  v_keys bigint[];
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage_retire', 0)), pg_advisory_xact_lock(hashtextextended('usage_import ' || p_source, 0));
  v_source := usage_source_of(p_source);
  PERFORM usage_import_judge();
  SELECT count(*), count(*) FILTER (WHERE c.is_new), min(c.at) FILTER (WHERE c.is_new), max(c.at) FILTER (WHERE c.is_new) INTO v_all, v_new, v_first, v_last FROM usage_import_call c;
  SELECT count(*), count(*) FILTER (WHERE s.outcome = 'known') INTO v_seen, v_known FROM usage_import_seen s;
  RETURN QUERY VALUES (NULL::int, 'new', NULL::text, v_new), (NULL, 'known', NULL, v_known);
  IF v_new + v_known < v_all + v_seen THEN
    RETURN QUERY SELECT c.place, c.outcome, '', 1::bigint FROM usage_import_call c WHERE NOT c.is_new UNION ALL SELECT s.place, s.outcome, s.detail, 1 FROM usage_import_seen s WHERE s.outcome <> 'known' ORDER BY 1;
  END IF;
  IF v_new = 0 THEN RETURN; END IF;
  PERFORM usage_import_months(v_first, v_last);
  PERFORM usage_import_callers();
  PERFORM usage_import_budgets(v_first, v_last);
  v_cuts := ARRAY(SELECT DISTINCT start FROM (SELECT DISTINCT starts FROM usage_import_budget) b CROSS JOIN LATERAL unnest(starts) start ORDER BY 1);

  BEGIN
    INSERT INTO usage_call (at, recorded_at, packed, attribution_id, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, source_id, calls, cache_hit, estimated, late,
      cost_usd, shape, finish, units, provider_call_id, context)
      SELECT c.at, v_now, c.packed, a.attribution_id, c.input_tokens, c.output_tokens, nullif(c.cached_tokens, 0), nullif(c.cache_write_tokens, 0), nullif(c.reasoning_tokens, 0), v_source, 1, c.cache_hit,
      c.estimated, true, c.cost_usd, c.shape, nullif(c.finish, 'stop'), nullif(c.units, '{}'), nullif(c.provider_call_id, ''), nullif(c.context, 'standard')
      FROM usage_import_call c JOIN usage_import_caller a USING (key_id, model_id) WHERE c.is_new;
  EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION 'a call of % was settled meanwhile: tell the page again', p_source USING ERRCODE = 'serialization_failure';
  END;
  CREATE TEMPORARY TABLE usage_import_sum ON COMMIT DROP AS
    SELECT a.owner_id, a.project_id, a.team_id, a.department_id, a.tier_id, s.* FROM (SELECT c.key_id, c.model_id, (c.at AT TIME ZONE p_zone)::date AS day, width_bucket(c.at, v_cuts) AS cell, c.price_ids,
      min(c.at) AS at, count(*) AS calls, sum(c.cost_usd) AS cost_usd, sum(c.input_tokens) AS input_tokens, sum(c.cached_tokens) AS cached_tokens, sum(c.cache_write_tokens) AS cache_write_tokens,
      sum(c.output_tokens) AS output_tokens, sum(c.reasoning_tokens) AS reasoning_tokens, usage_sum_of_units(nullif(c.units, '{}')) AS units
    FROM usage_import_call c WHERE c.is_new GROUP BY 1, 2, 3, 4, 5) s JOIN usage_import_caller a USING (key_id, model_id);
  ANALYZE usage_import_sum (key_id);

  PERFORM usage_import_post(p_reason, v_now);
  v_keys := usage_import_minutes(v_now);
  PERFORM usage_import_roll_up(p_hours_from);
  PERFORM usage_import_balances();
  PERFORM usage_carry(to_jsonb(s) || jsonb_build_object('source', p_source, 'amount_usd', s.cost_usd), s.day || '.' || left(replace(gen_random_uuid()::text, '-', ''), 12), p_zone)
    FROM usage_import_sum s WHERE s.day < (SELECT max(month) + interval '1 month' FROM usage_period_close WHERE state = 'closed') AND usage_closed_month(s.at, p_zone) IS NOT NULL;
  IF v_keys IS NOT NULL THEN PERFORM usage_stop_runaways(v_keys, v_now); END IF;
END $$;

-- Counts what keys spent lately by the minute, as a settlement does and in its order of locks, and returns these keys. A log whose clock is ahead tells of now.
CREATE FUNCTION usage_import_minutes(p_now timestamptz) RETURNS bigint[] LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  v_keys bigint[];
BEGIN
  WITH minutely AS (
    INSERT INTO usage_key_minute AS m (key_id, minute, cost_usd)
      SELECT c.key_id, date_trunc('minute', least(c.at, p_now)), sum(c.cost_usd) FROM usage_import_call c WHERE c.is_new AND c.at > p_now - interval '6 hours' GROUP BY 1, 2 ORDER BY 1, 2
      ON CONFLICT (key_id, minute) DO UPDATE SET cost_usd = m.cost_usd + excluded.cost_usd
      RETURNING m.key_id
  )
  SELECT array_agg(DISTINCT m.key_id) INTO v_keys FROM minutely m;
  RETURN v_keys;
END $$;

-- Makes the monthly tables of the new calls that are missing; what was retired is refused before.
CREATE FUNCTION usage_import_months(p_first timestamptz, p_last timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM usage_make_partitions(month::date, month::date)
    FROM generate_series(date_trunc('month', p_first AT TIME ZONE 'UTC'), p_last AT TIME ZONE 'UTC', '1 month') month
    WHERE to_regclass('usage_call' || to_char(month, '_YYYY_MM')) IS NULL OR to_regclass('usage_gateway_call' || to_char(month, '_YYYY_MM')) IS NULL;
END $$;

-- Writes one entry for each key, model, day and path of budgets and windows, and opens the windows that nobody called in.
CREATE FUNCTION usage_import_post(p_reason text, p_now timestamptz) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  v_name text := 'ent_' || lpad(to_hex((extract(epoch FROM p_now) * 1000)::bigint), 12, '0');  -- in the order of time, as core.ids has it
BEGIN
  CREATE TEMPORARY TABLE usage_import_charge ON COMMIT DROP AS
    SELECT row_number() OVER () AS number, s.*
    FROM (SELECT s.key_id, s.project_id, s.team_id, s.department_id, s.model_id, s.tier_id, s.cell, min(s.at) AS at, sum(s.cost_usd) AS usd, usage_sum_of_units(nullif(s.units, '{}'))
            || jsonb_build_object('input', sum(s.input_tokens), 'cached', sum(s.cached_tokens), 'cache_write', sum(s.cache_write_tokens), 'output', sum(s.output_tokens),
                                  'reasoning', sum(s.reasoning_tokens), 'request', sum(s.calls)) AS tokens,
            CASE count(*) WHEN 1 THEN any_value(s.price_ids) ELSE ARRAY(SELECT DISTINCT id FROM unnest(usage_joined(s.price_ids)) id ORDER BY id) END AS price_ids
          FROM usage_import_sum s GROUP BY s.key_id, s.project_id, s.team_id, s.department_id, s.model_id, s.tier_id, s.day, s.cell) s;
  ANALYZE usage_import_charge (number);
  CREATE TEMPORARY TABLE usage_import_move (budget_id bigint, window_start timestamptz, usd numeric) ON COMMIT DROP;
  WITH path AS (
    SELECT g.number, array_agg(b.id ORDER BY b.id) AS budget_ids, array_agg(b.starts[width_bucket(g.at, b.starts)] ORDER BY b.id) AS window_starts
    FROM usage_import_charge g
    CROSS JOIN LATERAL (VALUES ('key', g.key_id), ('project', g.project_id), ('team', g.team_id), ('department', g.department_id), ('organisation', 0)) AS scope (kind, id)
    JOIN usage_import_budget b ON b.kind = scope.kind AND b.scope_id = scope.id AND (b.only_tier_id IS NULL OR b.only_tier_id = g.tier_id)
      AND (b.only_model_id IS NULL OR b.only_model_id = g.model_id)
    GROUP BY 1
  ), entry AS (
    INSERT INTO budgets_entry (public_id, kind, amount_usd, reservation_id, budget_ids, window_starts, key_id, project_id, team_id, department_id, model_id, price_ids, tokens, overrun_usd, reason,
        effective_at, recorded_at)
      SELECT v_name || right(gen_random_uuid()::text, 12) || left(gen_random_uuid()::text, 4), 'late', g.usd, NULL, coalesce(p.budget_ids, '{}'), coalesce(p.window_starts, '{}'), g.key_id, g.project_id, g.team_id,
        g.department_id, g.model_id, g.price_ids, g.tokens, 0, p_reason, g.at, p_now
      FROM usage_import_charge g LEFT JOIN path p USING (number) ORDER BY g.at, g.number
      RETURNING amount_usd, budget_ids, window_starts
  )
  INSERT INTO usage_import_move
    SELECT path.budget_id, path.window_start, sum(e.amount_usd) FROM entry e CROSS JOIN LATERAL unnest(e.budget_ids, e.window_starts) AS path (budget_id, window_start) GROUP BY 1, 2;
  ANALYZE usage_import_move;

  PERFORM budgets_open_window(m.budget_id, m.window_start)
    FROM (SELECT m.budget_id, m.window_start FROM usage_import_move m
          WHERE NOT EXISTS (SELECT FROM budgets_balance b WHERE b.budget_id = m.budget_id AND b.window_start = m.window_start) ORDER BY 1, 2) m;
END $$;

-- Charges the budgets, at the end, because holds wait for balances that are locked.
CREATE FUNCTION usage_import_balances() RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  PERFORM 1 FROM usage_import_move m JOIN budgets_balance b USING (budget_id, window_start) ORDER BY b.budget_id, b.window_start FOR NO KEY UPDATE OF b;
  UPDATE budgets_balance b SET spent_usd = b.spent_usd + m.usd FROM usage_import_move m WHERE b.budget_id = m.budget_id AND b.window_start = m.window_start;
END $$;

-- Adds the sums to the roll-ups, in the order in which a settlement locks them.
CREATE FUNCTION usage_import_roll_up(p_hours_from timestamptz) RETURNS void LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  INSERT INTO usage_hour AS h (hour, project_id, model_id, team_id, department_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT date_bin('1 hour', at, '2000-01-01 00:00+00'), project_id, model_id, any_value(team_id), any_value(department_id), any_value(tier_id), count(*), sum(cost_usd), sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
      sum(output_tokens), sum(reasoning_tokens)
    FROM usage_import_call WHERE is_new AND at >= p_hours_from GROUP BY 1, 2, 3 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (hour, project_id, model_id, team_id, department_id, tier_id) DO UPDATE SET
      calls = h.calls + excluded.calls, cost_usd = h.cost_usd + excluded.cost_usd, input_tokens = h.input_tokens + excluded.input_tokens,
      cached_tokens = h.cached_tokens + excluded.cached_tokens, cache_write_tokens = h.cache_write_tokens + excluded.cache_write_tokens,
      output_tokens = h.output_tokens + excluded.output_tokens, reasoning_tokens = h.reasoning_tokens + excluded.reasoning_tokens;
  INSERT INTO usage_day AS d (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens,
      reasoning_tokens)
    SELECT day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, sum(calls), sum(cost_usd), sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
      sum(output_tokens), sum(reasoning_tokens)
    FROM usage_import_sum GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (day, key_id, model_id, project_id, team_id, department_id, owner_id, tier_id) DO UPDATE SET
      calls = d.calls + excluded.calls, cost_usd = d.cost_usd + excluded.cost_usd, input_tokens = d.input_tokens + excluded.input_tokens,
      cached_tokens = d.cached_tokens + excluded.cached_tokens, cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens,
      output_tokens = d.output_tokens + excluded.output_tokens, reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens;
END $$;
