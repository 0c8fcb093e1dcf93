ALTER TABLE gateway_used_nonce SET UNLOGGED;
CREATE INDEX gateway_used_nonce_by_time ON gateway_used_nonce (used_at);

-- Marks a signature as used; false when it was used before.
CREATE FUNCTION gateway_use_nonce(p_gateway bigint, p_nonce text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO gateway_used_nonce (gateway_id, nonce, used_at) VALUES (p_gateway, p_nonce, clock_timestamp()) ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;

-- The answer to an allowed call, from its reservation: the first answer and every repeated one.
CREATE FUNCTION gateway_allowed(r budgets_reservation) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('reservation', r.public_id, 'expires_at', r.expires_at, 'held_usd', r.held_usd::text, 'max_output_tokens', r.max_output_tokens,
    'tier', r.tier_id, 'key_id', k.public_id, 'project', p.code, 'team', t.code, 'warnings', r.warnings)
  FROM keys_apikey k, teams_project p, teams_team t WHERE k.id = r.key_id AND p.id = r.project_id AND t.id = r.team_id
$$;

-- Counts a refusal of a known key, so that people see what was blocked and why.
CREATE FUNCTION gateway_count_blocked(p_key bigint, p_project bigint, p_team bigint, p_department bigint, p_code text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO usage_blocked_hour AS b (hour, key_id, project_id, team_id, department_id, code, calls, last_at)
    VALUES (date_trunc('hour', clock_timestamp(), 'UTC'), p_key, p_project, p_team, p_department, p_code, 1, clock_timestamp())
    ON CONFLICT (hour, key_id, project_id, code) DO UPDATE SET calls = b.calls + 1, last_at = excluded.last_at
$$;

-- Who calls: the key by its digest, with everything that decides before money does. `refusal` is null when the call may go on to the budgets.
CREATE FUNCTION gateway_identify(p_digests bytea[], p_model text, p_mode text, p_project text, p_now timestamptz,
  OUT refusal text, OUT key_id bigint, OUT key_name text, OUT owner_id bigint, OUT project_id bigint, OUT project_code text, OUT team_id bigint,
  OUT department_id bigint, OUT model_id bigint, OUT model_name text, OUT tier int, OUT context_window bigint, OUT model_max_output bigint,
  OUT default_output bigint, OUT floor_output bigint, OUT declared_free boolean, OUT suspended_reason text, OUT hidden_reason text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  k record;
BEGIN
  SELECT a.*, p.code, p.team_id AS home_team, t.department_id AS home_department, u.is_active AS owner_is_active, p.archived_at AS project_archived_at INTO k
    FROM keys_apikey a JOIN teams_project p ON p.id = a.project_id JOIN teams_team t ON t.id = p.team_id JOIN teams_user u ON u.id = a.owner_id
    WHERE a.secret_hmac = ANY (p_digests);
  hidden_reason := CASE WHEN NOT FOUND THEN 'unknown' WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= p_now THEN 'expired'
    WHEN NOT k.owner_is_active THEN 'owner_inactive' WHEN k.project_archived_at IS NOT NULL THEN 'project_archived' END;
  IF hidden_reason IS NOT NULL THEN refusal := 'invalid_api_key'; RETURN; END IF;
  key_id := k.id; key_name := k.name; owner_id := k.owner_id; project_id := k.project_id; project_code := k.code;
  team_id := k.home_team; department_id := k.home_department; suspended_reason := k.suspended_reason;
  IF k.suspended_at IS NOT NULL THEN refusal := 'key_suspended'; RETURN; END IF;
  IF p_project IS NOT NULL AND p_project <> k.code THEN refusal := 'project_mismatch'; RETURN; END IF;
  IF p_mode IS NULL THEN refusal := 'route_not_allowed'; RETURN; END IF;
  SELECT m.id, m.name, m.tier_id, m.context_window_tokens, CASE WHEN p_mode = 'embedding' THEN 0 ELSE m.max_output_tokens END, t.default_max_output_tokens, t.floor_max_output_tokens, m.declared_free
    INTO model_id, model_name, tier, context_window, model_max_output, default_output, floor_output, declared_free
    FROM catalog_llmmodel m JOIN catalog_tier t ON t.number = m.tier_id WHERE m.id = catalog_model_id(p_model) AND m.mode = p_mode;
  IF NOT FOUND THEN refusal := 'model_unknown'; RETURN; END IF;
END $$;

-- True when the key may call this model now: Tier 1 always, the others through an active grant.
CREATE FUNCTION gateway_may_call(p_key bigint, p_tier int, p_model bigint, p_now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT p_tier = 1 OR EXISTS (
    SELECT FROM keys_grant g WHERE g.key_id = p_key AND g.tier_id = p_tier AND g.revoked_at IS NULL AND g.starts_at <= p_now AND g.expires_at > p_now
      AND (g.model_ids = '{}' OR p_model = ANY (g.model_ids)))
$$;

-- The budgets that a call must fit, with the window it falls into and the limit in force.
CREATE FUNCTION gateway_path(p_key bigint, p_project bigint, p_team bigint, p_department bigint, p_tier int, p_model bigint, p_now timestamptz)
RETURNS TABLE (budget_id bigint, window_start timestamptz, window_end timestamptz, mode text, limit_usd numeric) LANGUAGE sql STABLE AS $$
  SELECT b.id, w.window_start, w.window_end, b.mode, budgets_limit_at(b.id, p_now)
  FROM (VALUES ('key', p_key), ('project', p_project), ('team', p_team), ('department', p_department), ('organisation', 0)) AS scope (kind, id)
  JOIN budgets_budget b ON b.scope_kind = scope.kind AND b.scope_id = scope.id AND b.closed_at IS NULL
  CROSS JOIN LATERAL budgets_window(b.window, b.window_anchor, b.time_zone, p_now) w
  WHERE (b.only_tier_id IS NULL OR b.only_tier_id = p_tier) AND (b.only_model_id IS NULL OR b.only_model_id = p_model)
  ORDER BY b.id, w.window_start
$$;

-- What is told of the budget that refused.
CREATE FUNCTION gateway_binding(p_budget bigint, p_team bigint, p_window_end timestamptz, p_limit numeric, p_spent numeric, p_held numeric, p_now timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('id', b.public_id, 'scope', b.scope_kind, 'window', b.window, 'limit_usd', p_limit::numeric(28, 12)::text, 'spent_usd', p_spent::text,
    'held_usd', p_held::text, 'resets_at', p_window_end, 'seconds_to_reset', greatest(ceil(extract(epoch FROM p_window_end - p_now))::bigint, 1), 'name', CASE b.scope_kind
      WHEN 'key' THEN (SELECT name FROM keys_apikey WHERE id = b.scope_id) WHEN 'project' THEN (SELECT code FROM teams_project WHERE id = b.scope_id)
      WHEN 'team' THEN (SELECT code FROM teams_team WHERE id = b.scope_id) WHEN 'department' THEN (SELECT code FROM teams_department WHERE id = b.scope_id)
      ELSE 'organisation' END,
    'ask', (SELECT u.name FROM teams_roleassignment a JOIN teams_user u ON u.id = a.user_id
            WHERE a.role = 'lead' AND a.team_id = p_team AND u.is_active AND a.valid_from <= p_now AND (a.valid_until IS NULL OR a.valid_until > p_now)
            ORDER BY a.valid_from, a.id LIMIT 1))
  FROM budgets_budget b WHERE b.id = p_budget
$$;

-- A hold is rounded up to the ledger's twelve decimals, so that it covers its call.
CREATE FUNCTION gateway_round_up(p_value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
  SELECT (ceil(p_value * 1000000000000) / 1000000000000)::numeric(28, 12)
$$;

-- Decides one call and, when it is allowed, holds its worst case on every budget of its path: all in one transaction.
-- Locks balances by (budget, window) before it makes the reservation; usage_settle locks reservations that exist and then balances: no cycle, because nobody
-- else can hold a reservation that is not committed yet.
CREATE FUNCTION gateway_authorize(p_gateway bigint, p_source text, p_nonce text, p_request_id text, p_request_hash bytea, p_digests bytea[], p_model text, p_mode text,
  p_route text, p_project text, p_input_bound bigint, p_max_output bigint, p_choices int, p_context text, p_ttl interval, OUT code text, OUT facts jsonb)
LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  r budgets_reservation;
  who record;
  price record;
  v_input bigint;
  v_output bigint;
  v_wanted bigint;
  v_least bigint;
  v_fixed numeric;
  v_per_output numeric;
  v_hold numeric;
  v_free numeric;
  v_budgets bigint[];
  v_starts timestamptz[];
  v_ends timestamptz[];
  v_modes text[];
  v_limits numeric[];
  v_spent numeric[];
  v_reserved numeric[];
  v_tight int;
  v_warnings jsonb := '[]';
BEGIN
  IF NOT gateway_use_nonce(p_gateway, p_nonce) THEN code := 'gateway_signature_replayed'; RETURN; END IF;
  SELECT * INTO r FROM budgets_reservation WHERE source = p_source AND request_id = p_request_id;
  IF FOUND THEN
    code := CASE WHEN r.request_hash = p_request_hash THEN 'allow' ELSE 'request_id_reused' END;
    facts := CASE WHEN code = 'allow' THEN gateway_allowed(r) END;
    RETURN;
  END IF;

  SELECT * INTO who FROM gateway_identify(p_digests, p_model, p_mode, p_project, v_now);
  code := who.refusal;
  IF code IS NULL THEN
    v_input := least(p_input_bound, who.context_window);
    SELECT * INTO price FROM catalog_dearest(who.model_id, p_context, v_now, v_input);
    code := CASE WHEN NOT price.priced AND NOT who.declared_free THEN 'model_unpriced'
                 WHEN NOT gateway_may_call(who.key_id, who.tier, who.model_id, v_now) THEN 'tier_not_granted' END;
  END IF;
  IF code IS NOT NULL THEN
    facts := jsonb_build_object('hidden_reason', who.hidden_reason, 'key_name', who.key_name, 'project', who.project_code, 'team_id', who.team_id,
      'project_id', who.project_id, 'model', who.model_name, 'tier', who.tier, 'suspended_reason', who.suspended_reason);
    IF who.key_id IS NOT NULL THEN PERFORM gateway_count_blocked(who.key_id, who.project_id, who.team_id, who.department_id, code); END IF;
    RETURN;
  END IF;

  v_wanted := least(coalesce(nullif(p_max_output, 0), who.default_output), who.model_max_output);
  v_least := least(v_wanted, who.floor_output);
  v_fixed := v_input * price.input_usd + price.request_usd;
  v_per_output := p_choices * price.output_usd;
  SELECT coalesce(array_agg(p.budget_id), '{}'), coalesce(array_agg(p.window_start), '{}'), array_agg(p.window_end), array_agg(p.mode), array_agg(p.limit_usd)
    INTO v_budgets, v_starts, v_ends, v_modes, v_limits
    FROM gateway_path(who.key_id, who.project_id, who.team_id, who.department_id, who.tier, who.model_id, v_now) p;
  INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, reserved_usd)
    SELECT p.budget_id, p.window_start, p.window_end, 0, 0 FROM unnest(v_budgets, v_starts, v_ends) AS p (budget_id, window_start, window_end)
    WHERE NOT EXISTS (SELECT FROM budgets_balance b WHERE b.budget_id = p.budget_id AND b.window_start = p.window_start)
    ON CONFLICT DO NOTHING;
  SELECT array_agg(locked.spent_usd), array_agg(locked.reserved_usd) INTO v_spent, v_reserved
    FROM (SELECT b.spent_usd, b.reserved_usd FROM budgets_balance b JOIN unnest(v_budgets, v_starts) AS path (budget_id, window_start) USING (budget_id, window_start)
          ORDER BY b.budget_id, b.window_start FOR NO KEY UPDATE OF b) locked;

  -- Behind the locks: what the tightest hard budget leaves, and how many output tokens that buys.
  FOR i IN 1 .. cardinality(v_budgets) LOOP
    IF v_modes[i] = 'hard' THEN v_free := least(v_free, v_limits[i] - v_spent[i] - v_reserved[i]); END IF;
  END LOOP;
  v_output := v_wanted;
  v_hold := gateway_round_up(v_fixed + v_output * v_per_output);
  IF v_hold > v_free AND v_per_output > 0 THEN
    v_output := greatest(least(v_wanted, floor((v_free - v_fixed) / v_per_output)), v_least);
    v_hold := gateway_round_up(v_fixed + v_output * v_per_output);
  END IF;
  FOR i IN 1 .. cardinality(v_budgets) LOOP
    CONTINUE WHEN v_hold = 0 OR v_limits[i] IS NULL OR v_limits[i] - v_spent[i] - v_reserved[i] >= v_hold;
    IF v_modes[i] <> 'hard' THEN
      v_warnings := v_warnings || jsonb_build_object('budget', (SELECT public_id FROM budgets_budget WHERE id = v_budgets[i]), 'code', v_modes[i] || '_exceeded');
    ELSIF v_tight IS NULL
       OR (v_spent[i] + v_hold > v_limits[i], v_ends[i]) > (v_spent[v_tight] + v_hold > v_limits[v_tight], v_ends[v_tight]) THEN
      -- The one that stays shut longest is the one to name: what is spent before what is only held, then the later end.
      v_tight := i;
    END IF;
  END LOOP;
  IF v_tight IS NOT NULL THEN
    code := CASE WHEN v_spent[v_tight] + v_hold > v_limits[v_tight] THEN 'budget_exhausted' ELSE 'budget_held' END;
    facts := jsonb_build_object('needed_usd', v_hold::text, 'team_id', who.team_id, 'project_id', who.project_id,
      'budget', gateway_binding(v_budgets[v_tight], who.team_id, v_ends[v_tight], v_limits[v_tight], v_spent[v_tight], v_reserved[v_tight], v_now));
    PERFORM gateway_count_blocked(who.key_id, who.project_id, who.team_id, who.department_id, code);
    RETURN;
  END IF;

  INSERT INTO budgets_reservation (public_id, source, request_id, request_hash, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, context, route,
      input_bound_tokens, max_output_tokens, choices, held_usd, input_floor_usd, budget_ids, window_starts, warnings, state, authorized_at, expires_at)
    SELECT 'rsv_' || left(replace(gen_random_uuid()::text, '-', ''), 28), p_source, p_request_id, p_request_hash, who.key_id, who.owner_id, who.project_id, who.team_id, who.department_id,
      who.model_id, who.tier, p_context, p_route, v_input, nullif(v_output, 0), p_choices, v_hold, least(v_hold, core_round_half_even(v_input * rate.input_usd, 12)), v_budgets, v_starts,
      v_warnings, 'open', v_now, v_now + p_ttl
    FROM catalog_rates(who.model_id, p_context, v_now, v_input) rate
    ON CONFLICT (source, request_id) DO NOTHING RETURNING * INTO r;
  IF NOT FOUND THEN
    -- The same request came twice at once and the other was first: its answer is the answer.
    SELECT * INTO STRICT r FROM budgets_reservation WHERE source = p_source AND request_id = p_request_id;
    code := CASE WHEN r.request_hash = p_request_hash THEN 'allow' ELSE 'request_id_reused' END;
    facts := CASE WHEN code = 'allow' THEN gateway_allowed(r) END;
    RETURN;
  END IF;
  UPDATE budgets_balance b SET reserved_usd = b.reserved_usd + v_hold FROM unnest(v_budgets, v_starts) AS path (budget_id, window_start)
    WHERE b.budget_id = path.budget_id AND b.window_start = path.window_start;
  code := 'allow';
  facts := gateway_allowed(r);
END $$;

-- The signed forms of settle and release: the signature is used up in the transaction of its effect.
CREATE FUNCTION gateway_settle(p_gateway bigint, p_source text, p_nonce text, p_items jsonb, p_zone text)
RETURNS TABLE (place int, status text, charged_usd numeric, held_usd numeric) LANGUAGE plpgsql AS $$
BEGIN
  IF NOT gateway_use_nonce(p_gateway, p_nonce) THEN
    RETURN QUERY SELECT 0, 'gateway_signature_replayed', NULL::numeric, NULL::numeric;
    RETURN;
  END IF;
  RETURN QUERY SELECT * FROM usage_settle(p_source, p_items, p_zone);
END $$;

CREATE FUNCTION gateway_release(p_gateway bigint, p_source text, p_nonce text, p_reservation text, p_zone text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF NOT gateway_use_nonce(p_gateway, p_nonce) THEN RETURN 'gateway_signature_replayed'; END IF;
  RETURN usage_release(p_source, p_reservation, p_zone);
END $$;
