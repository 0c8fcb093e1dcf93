-- Leases: a gateway node holds money on every budget of a path (one key calling one model) and decides those calls itself until the lease ends.
--
-- What a lease holds is reserved on the balances while it is open. A call that the node allowed is drawn from it when it settles: the money moves from the
-- lease to a reservation of the call's own, and from there on it is a call like any other. Locks: leases, then reservations, rate limits, balances.

-- Opens a lease or tops up and prolongs one. A call {gateway, nonce, source, digests, model, mode, route, context ...} as in gateway_authorize says who asks.
-- The slice is as large as wanted while much is free, and at most half of a fair share when little is: nodes that ask later find something.
CREATE FUNCTION gateway_lease(p_call jsonb, p_node text, p_lease text, p_want numeric, p_floor numeric, p_ttl interval, p_longest interval, OUT code text, OUT answer json)
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
  v_slice numeric;
  v_nodes int;
  v_end timestamptz;
  b record;
  n int := 0;
BEGIN
  IF gateway_use_nonces(jsonb_build_array(p_call)) <> '{}' THEN code := 'gateway_signature_replayed'; RETURN; END IF;
  SELECT * INTO q FROM gateway_callers(jsonb_build_array(p_call), v_now);
  SELECT * INTO card FROM catalog_card(q.model_id, q.context, v_now, q.input_bound) WHERE q.refusal IS NULL;
  code := coalesce(q.refusal, CASE WHEN NOT card.priced AND NOT q.declared_free THEN 'model_unpriced' WHEN NOT q.granted THEN 'tier_not_granted'
    WHEN q.mode NOT IN ('chat', 'embedding') OR card.dear_unit_usd <> '{}' OR EXISTS (SELECT FROM budgets_ratelimit WHERE (scope_kind, scope_id) IN (('key', q.key_id), ('project', q.project_id), ('team', q.team_id)))
      THEN 'lease_not_offered' END);
  IF code IS NOT NULL THEN
    answer := json_build_object('hidden_reason', q.hidden_reason, 'key_name', q.key_name, 'project', q.project_code, 'model', q.model_name, 'tier', q.tier_id, 'suspended_reason', q.suspended_reason);
    RETURN;
  END IF;

  SELECT * INTO l FROM budgets_lease x WHERE x.public_id = p_lease AND x.source = p_call->>'source' AND x.key_id = q.key_id AND x.model_id = q.model_id AND x.closed_at IS NULL FOR NO KEY UPDATE;
  PERFORM budgets_open_window(p.id, v_now) FROM gateway_path(q.key_id, q.project_id, q.team_id, q.department_id, q.tier_id, q.model_id, v_now) p
    WHERE p.window_start IS NULL;
  SELECT coalesce(array_agg(p.id ORDER BY p.id), '{}'), coalesce(array_agg(p.window_start ORDER BY p.id), '{}'), array_agg(p.window_end ORDER BY p.id), array_agg(p.mode ORDER BY p.id)
    INTO v_budgets, v_starts, v_ends, v_modes
    FROM gateway_path(q.key_id, q.project_id, q.team_id, q.department_id, q.tier_id, q.model_id, v_now) p;
  FOR b IN SELECT * FROM gateway_lock_balances(v_budgets, v_starts, v_now) LOOP
    n := n + 1;
    IF v_modes[n] = 'hard' AND b.limit_usd - b.spent_usd - b.reserved_usd < coalesce(v_free, 'Infinity') THEN v_free := b.limit_usd - b.spent_usd - b.reserved_usd; v_tight := n; END IF;
  END LOOP;
  SELECT count(DISTINCT node) + 1 INTO v_nodes FROM budgets_lease x WHERE x.closed_at IS NULL AND x.budget_ids && v_budgets[v_tight:v_tight] AND x.node <> p_node;
  v_slice := trunc(CASE WHEN v_free IS NULL THEN p_want ELSE greatest(least(p_want, v_free, greatest(p_floor, v_free / (2 * v_nodes))), 0) END, 12);
  v_end := least(v_now + p_ttl, (SELECT min(e) FROM unnest(v_ends) e));  -- a call belongs to the window of its authorisation, so no lease outlives one
  IF l.id IS NOT NULL AND (l.budget_ids, l.window_starts) IS DISTINCT FROM (v_budgets, v_starts) THEN l := NULL; END IF;
  IF l.id IS NULL THEN
    IF v_slice = 0 AND v_tight IS NOT NULL THEN
      code := 'budget_held';
      SELECT json_build_object('needed_usd', p_floor::text, 'seconds_held', least(greatest(ceil(x.mean_call_seconds), 1), 30),
          'budget', gateway_binding(x.budget_id, q.team_id, x.window_end, budgets_limit_at(x.budget_id, v_now), x.spent_usd, x.reserved_usd, v_now))
        INTO answer FROM budgets_balance x WHERE x.budget_id = v_budgets[v_tight] AND x.window_start = v_starts[v_tight];
      RETURN;
    END IF;
    INSERT INTO budgets_lease (public_id, source, node, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, budget_ids, window_starts, granted_usd, held_usd, opened_at, expires_at, reclaim_at)
      VALUES ('lse_' || left(replace(gen_random_uuid()::text, '-', ''), 28), p_call->>'source', p_node, q.key_id, q.owner_id, q.project_id, q.team_id, q.department_id, q.model_id, q.tier_id,
        v_budgets, v_starts, v_slice, v_slice, v_now, v_end, v_end + p_longest)
      RETURNING * INTO l;
  ELSE
    UPDATE budgets_lease x SET granted_usd = x.granted_usd + v_slice, held_usd = x.held_usd + v_slice, expires_at = v_end, reclaim_at = v_end + p_longest WHERE x.id = l.id RETURNING * INTO l;
  END IF;
  UPDATE budgets_balance x SET reserved_usd = x.reserved_usd + v_slice FROM unnest(v_budgets, v_starts) AS path (budget_id, window_start)
    WHERE x.budget_id = path.budget_id AND x.window_start = path.window_start;
  code := 'allow';
  answer := json_build_object('lease', l.public_id, 'added_usd', v_slice::text, 'held_usd', l.held_usd::text, 'expires_at', to_char(l.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'seconds', extract(epoch FROM l.expires_at - v_now)::float, 'key_id', q.key_public, 'project', q.project_code, 'team', q.team_code, 'tier', q.tier_id, 'model', q.model_name,
    'input_usd', card.dear_input_usd::text, 'output_usd', card.dear_output_usd::text, 'request_usd', card.dear_request_usd::text, 'context_window_tokens', q.input_bound,
    'max_output_tokens', q.model_max_output, 'default_output_tokens', q.default_output, 'floor_output_tokens', q.floor_output);
END $$;

-- The leases of a node that must stop now: their key or grant has ended, a limit or a rate was set since they were opened, a budget joined or left their path, or a hard
-- one of it has given out more than it has: it became hard, or calls cost more than they held.
CREATE FUNCTION gateway_recalled(p_source text, p_node text) RETURNS SETOF text LANGUAGE sql AS $$
  WITH stopped AS (
    UPDATE budgets_lease l SET recalled_at = coalesce(l.recalled_at, clock_timestamp())
    WHERE l.source = p_source AND l.node = p_node AND l.closed_at IS NULL AND (
      NOT EXISTS (SELECT FROM keys_apikey k JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id JOIN teams_user u ON u.id = k.owner_id
                  WHERE k.id = l.key_id AND k.revoked_at IS NULL AND k.suspended_at IS NULL AND k.expires_at > clock_timestamp() AND u.is_active AND p.archived_at IS NULL
                    AND p.id = l.project_id AND t.id = l.team_id AND t.department_id = l.department_id)
      OR EXISTS (SELECT FROM keys_apikey k WHERE k.id = l.key_id AND k.previous_until BETWEEN l.opened_at AND clock_timestamp())
      OR NOT EXISTS (SELECT FROM catalog_llmmodel m WHERE m.id = l.model_id AND m.retired_at IS NULL AND m.tier_id = l.tier_id)
      OR l.tier_id > 1 AND NOT EXISTS (SELECT FROM keys_grant g WHERE g.key_id = l.key_id AND g.tier_id = l.tier_id AND g.revoked_at IS NULL AND g.starts_at <= clock_timestamp()
                  AND g.expires_at > clock_timestamp() AND (g.model_ids = '{}' OR l.model_id = ANY (g.model_ids)))
      OR EXISTS (SELECT FROM budgets_budgetlimit b WHERE b.budget_id = ANY (l.budget_ids) AND (b.valid_from BETWEEN l.opened_at AND clock_timestamp() OR b.valid_until BETWEEN l.opened_at AND clock_timestamp()))
      OR EXISTS (SELECT FROM unnest(l.budget_ids, l.window_starts) AS path (budget_id, window_start) JOIN budgets_balance o USING (budget_id, window_start) JOIN budgets_budget b ON b.id = o.budget_id
                 CROSS JOIN LATERAL gateway_limit(b.id, clock_timestamp()) x WHERE b.mode = 'hard' AND x.limit_usd < o.spent_usd + o.reserved_usd)
      OR EXISTS (SELECT FROM catalog_price p WHERE p.model_id = l.model_id AND (p.valid_from BETWEEN l.opened_at AND clock_timestamp() OR p.valid_until BETWEEN l.opened_at AND clock_timestamp()))
      OR EXISTS (SELECT FROM budgets_ratelimit r WHERE (r.scope_kind, r.scope_id) IN (('key', l.key_id), ('project', l.project_id), ('team', l.team_id)))
      OR l.budget_ids IS DISTINCT FROM (SELECT coalesce(array_agg(p.id ORDER BY p.id), '{}')
                  FROM gateway_path(l.key_id, l.project_id, l.team_id, l.department_id, l.tier_id, l.model_id, clock_timestamp()) p))
    RETURNING l.public_id
  )
  SELECT public_id FROM stopped
$$;

-- The signed form, for a node that asks twice a second: a signature is used up, then the ids of the leases that must stop.
CREATE FUNCTION gateway_poll_leases(p_call jsonb, p_node text) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
  IF gateway_use_nonces(jsonb_build_array(p_call)) <> '{}' THEN RETURN NULL; END IF;
  RETURN ARRAY(SELECT gateway_recalled(p_call->>'source', p_node));
END $$;

-- Gives back what a lease holds beyond `p_keep`, which the node needs for calls that it allowed and has not settled; with 0 the lease is closed.
CREATE FUNCTION gateway_return_lease(p_call jsonb, p_lease text, p_keep numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  l budgets_lease;
BEGIN
  IF gateway_use_nonces(jsonb_build_array(p_call)) <> '{}' THEN RETURN 'gateway_signature_replayed'; END IF;
  SELECT * INTO l FROM budgets_lease x WHERE x.public_id = p_lease AND x.source = p_call->>'source' FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN 'unknown'; END IF;
  IF l.closed_at IS NOT NULL THEN RETURN 'closed'; END IF;
  PERFORM usage_shrink_lease(l, p_keep);
  RETURN CASE WHEN p_keep = 0 THEN 'closed' ELSE 'returned' END;
END $$;
