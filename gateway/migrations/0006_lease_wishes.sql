-- Opens a lease or tops up and prolongs one. A call {gateway, nonce, source, digests, model, mode, route, context ...} as in gateway_authorize says who asks.
-- `p_lease` is the lease that there is, or a name that the node makes up for the one that it wishes. A question that was left without an answer is asked again with
-- the same `p_lease`, and finds what it opened (`wish`): its node has heard nothing of it, so all that it holds is told as added, and nothing more is reserved.
-- The slice is as large as wanted while much is free, and at most half of a fair share when little is: nodes that ask later find something.
CREATE OR REPLACE FUNCTION gateway_lease(p_call jsonb, p_node text, p_lease text, p_want numeric, p_floor numeric, p_ttl interval, p_longest interval, OUT code text, OUT answer json)
LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  q record;
  card record;
  l budgets_lease;
  v_budgets bigint[];
  v_starts timestamptz[];
  v_ends timestamptz[];
  v_modes text[];
  v_free numeric;
  v_tight int;
  v_shut int;
  v_opened timestamptz;
  v_opens timestamptz;
  v_slice numeric;
  v_nodes int;
  v_end timestamptz;
  v_again boolean;
  b record;
  n int := 0;
BEGIN
  IF gateway_use_nonces(jsonb_build_array(p_call)) <> '{}' THEN code := 'gateway_signature_replayed'; RETURN; END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended(concat_ws(' ', p_call->>'source', p_node, p_lease), 0)) WHERE p_lease IS NOT NULL;  -- asked again while it is answered
  SELECT * INTO q FROM gateway_callers(jsonb_build_array(p_call), v_now);
  SELECT * INTO card FROM catalog_card(q.model_id, q.context, v_now, q.input_bound) WHERE q.refusal IS NULL;
  code := coalesce(q.refusal, CASE WHEN NOT card.priced AND NOT q.declared_free THEN 'model_unpriced' WHEN NOT q.granted THEN 'tier_not_granted'
    WHEN q.mode NOT IN ('chat', 'embedding') OR card.dear_unit_usd <> '{}' OR EXISTS (SELECT FROM budgets_ratelimit WHERE (scope_kind, scope_id) IN (('key', q.key_id), ('project', q.project_id), ('team', q.team_id)))
      THEN 'lease_not_offered' END);
  IF code IS NOT NULL THEN
    UPDATE budgets_lease SET wish = NULL, expires_at = least(expires_at, v_now + interval '1 microsecond'), reclaim_at = v_now + interval '2 microseconds'  -- a wish that nobody will come for
      WHERE source = p_call->>'source' AND node = p_node AND wish = p_lease AND closed_at IS NULL AND held_usd = granted_usd;
    INSERT INTO usage_blocked_hour AS x (hour, key_id, project_id, team_id, department_id, code, rate_scope, rate_limit, calls, last_at)  -- who uses a key that is no longer good is seen, as in gateway_authorize
      SELECT date_trunc('hour', v_now, 'UTC'), q.key_id, q.project_id, q.team_id, q.department_id, 'key_' || q.hidden_reason, '', '', 1, v_now WHERE q.key_id IS NOT NULL AND q.hidden_reason IS NOT NULL
      ON CONFLICT ON CONSTRAINT blocked_hour_one_row_per_attribution_and_cause DO UPDATE SET calls = x.calls + 1, last_at = excluded.last_at;
    answer := json_build_object('hidden_reason', q.hidden_reason, 'key_name', q.key_name, 'project', q.project_code, 'model', q.model_name, 'tier', q.tier_id, 'suspended_reason', q.suspended_reason,
      'key_id', q.key_public, 'leads', CASE code WHEN 'key_suspended' THEN gateway_leads(q.team_id) END, 'decided_by', CASE code WHEN 'tier_not_granted' THEN gateway_deciders(q.tier_id) END);
    RETURN;
  END IF;

  SELECT * INTO l FROM budgets_lease x WHERE x.source = p_call->>'source' AND x.key_id = q.key_id AND x.model_id = q.model_id AND x.closed_at IS NULL
    AND (x.public_id = p_lease OR x.node = p_node AND x.wish = p_lease) ORDER BY x.public_id = p_lease LIMIT 1 FOR NO KEY UPDATE;
  v_again := coalesce(l.wish = p_lease, false);
  PERFORM budgets_open_window(p.id, v_now) FROM gateway_path(q.key_id, q.project_id, q.team_id, q.department_id, q.tier_id, q.model_id, v_now) p
    WHERE p.window_start IS NULL;
  SELECT coalesce(array_agg(p.id ORDER BY p.id), '{}'), coalesce(array_agg(p.window_start ORDER BY p.id), '{}'), array_agg(p.window_end ORDER BY p.id), array_agg(p.mode ORDER BY p.id)
    INTO v_budgets, v_starts, v_ends, v_modes
    FROM gateway_path(q.key_id, q.project_id, q.team_id, q.department_id, q.tier_id, q.model_id, v_now) p;
  FOR b IN SELECT * FROM gateway_lock_balances(v_budgets, v_starts, v_now) LOOP
    n := n + 1;
    IF v_modes[n] = 'hard' AND b.limit_usd - b.spent_usd - b.reserved_usd < coalesce(v_free, 'Infinity') THEN v_free := b.limit_usd - b.spent_usd - b.reserved_usd; v_tight := n; END IF;
    IF v_modes[n] = 'hard' AND b.spent_usd >= b.limit_usd THEN  -- nothing of it would come back; the one that stays shut longest is the one to name
      v_opened := gateway_opens_at(v_budgets[n], b.spent_usd + p_floor, v_now, v_ends[n]);
      IF v_shut IS NULL OR v_opened > v_opens THEN v_shut := n; v_opens := v_opened; END IF;
    END IF;
  END LOOP;
  SELECT count(DISTINCT node) + 1 INTO v_nodes FROM budgets_lease x WHERE x.closed_at IS NULL AND x.budget_ids && v_budgets[v_tight:v_tight] AND x.node <> p_node;
  v_slice := trunc(CASE WHEN v_free IS NULL THEN p_want ELSE greatest(least(p_want, v_free, greatest(p_floor, v_free / (2 * v_nodes))), 0) END, 12);
  v_end := least(v_now + p_ttl, (SELECT min(e) FROM unnest(v_ends) e));  -- a call belongs to the window of its authorisation, so no lease outlives one
  IF l.id IS NOT NULL AND (l.budget_ids, l.window_starts) IS DISTINCT FROM (v_budgets, v_starts) THEN
    UPDATE budgets_lease SET wish = NULL, expires_at = least(expires_at, v_now + interval '1 microsecond'), reclaim_at = v_now + interval '2 microseconds' WHERE id = l.id AND v_again;
    v_again := false;
    l := NULL;
  END IF;
  IF l.id IS NULL THEN
    IF v_slice = 0 AND v_tight IS NOT NULL THEN
      code := CASE WHEN v_shut IS NULL THEN 'budget_held' ELSE 'budget_exhausted' END;
      n := coalesce(v_shut, v_tight);
      SELECT json_build_object('needed_usd', p_floor::text, 'opens_at', v_opens, 'seconds', CASE WHEN v_shut IS NULL THEN least(greatest(ceil(x.mean_call_seconds), 1), 30)
              ELSE least(greatest(ceil(extract(epoch FROM v_opens - v_now)), 1), 366 * 86400) END,
          'budget', gateway_binding(x.budget_id, q.team_id, x.window_end, budgets_limit_at(x.budget_id, v_now), x.spent_usd, x.reserved_usd, v_now))
        INTO answer FROM budgets_balance x WHERE x.budget_id = v_budgets[n] AND x.window_start = v_starts[n];
      RETURN;
    END IF;
    INSERT INTO budgets_lease (public_id, source, node, wish, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, budget_ids, window_starts, granted_usd, held_usd, opened_at, expires_at, reclaim_at)
      VALUES ('lse_' || left(replace(gen_random_uuid()::text, '-', ''), 28), p_call->>'source', p_node, p_lease, q.key_id, q.owner_id, q.project_id, q.team_id, q.department_id, q.model_id, q.tier_id,
        v_budgets, v_starts, v_slice, v_slice, v_now, v_end, v_end + p_longest)
      RETURNING * INTO l;
  ELSE
    IF v_again THEN v_slice := 0; END IF;
    UPDATE budgets_lease x SET granted_usd = x.granted_usd + v_slice, held_usd = x.held_usd + v_slice, expires_at = v_end, reclaim_at = v_end + p_longest WHERE x.id = l.id RETURNING * INTO l;
  END IF;
  UPDATE budgets_balance x SET reserved_usd = x.reserved_usd + v_slice FROM unnest(v_budgets, v_starts) AS path (budget_id, window_start)
    WHERE x.budget_id = path.budget_id AND x.window_start = path.window_start;
  code := 'allow';
  answer := json_build_object('lease', l.public_id, 'added_usd', (CASE WHEN v_again THEN l.held_usd ELSE v_slice END)::text, 'held_usd', l.held_usd::text, 'expires_at', to_char(l.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'seconds', extract(epoch FROM l.expires_at - v_now)::float, 'key_id', q.key_public, 'project', q.project_code, 'team', q.team_code, 'tier', q.tier_id, 'model', q.model_name,
    'input_usd', card.dear_input_usd::text, 'output_usd', card.dear_output_usd::text, 'request_usd', card.dear_request_usd::text, 'context_window_tokens', q.input_bound,
    'max_output_tokens', q.model_max_output, 'default_output_tokens', q.default_output, 'floor_output_tokens', q.floor_output);
END $$;
