-- Marks signatures as used, {gateway, nonce} each; returns the places (from 1) of those that were used before.
CREATE FUNCTION gateway_use_nonces(p_calls jsonb) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  v_fresh text[];
BEGIN
  WITH fresh AS (
    INSERT INTO gateway_used_nonce (gateway_id, nonce, used_at) SELECT c.gateway, c.nonce, clock_timestamp() FROM jsonb_to_recordset(p_calls) AS c (gateway bigint, nonce text) ORDER BY 1, 2
      ON CONFLICT DO NOTHING RETURNING gateway_id || ' ' || nonce AS signature
  )
  SELECT coalesce(array_agg(signature), '{}') INTO v_fresh FROM fresh;
  IF cardinality(v_fresh) = jsonb_array_length(p_calls) THEN RETURN '{}'; END IF;
  RETURN ARRAY(SELECT c.place::int
    FROM (SELECT c.*, row_number() OVER (PARTITION BY c.gateway, c.nonce ORDER BY c.place) AS turn
          FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (gateway bigint, nonce text)) WITH ORDINALITY AS c (gateway, nonce, place)) c
    WHERE c.turn > 1 OR c.gateway || ' ' || c.nonce <> ALL (v_fresh));
END $$;

-- The answer to an allowed call: the first answer and every repeated one.
CREATE FUNCTION gateway_allowed(p_reservation text, p_expires_at timestamptz, p_held_usd numeric, p_max_output bigint, p_tier int, p_key text, p_project text, p_team text, p_warnings jsonb)
RETURNS json LANGUAGE sql STABLE AS $$
  SELECT json_build_object('decision', 'allow', 'reservation', p_reservation, 'expires_at', to_char(p_expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'held_usd', p_held_usd::text, 'max_output_tokens', p_max_output, 'tier', p_tier, 'key_id', p_key, 'project', p_project, 'team', p_team, 'warnings', p_warnings)
$$;

-- The same call asked again.
CREATE FUNCTION gateway_repeated(r budgets_reservation) RETURNS json LANGUAGE sql STABLE AS $$
  SELECT gateway_allowed(r.public_id, r.expires_at, r.held_usd, r.max_output_tokens, r.tier_id, k.public_id, p.code, t.code, r.warnings)
  FROM keys_apikey k, teams_project p, teams_team t WHERE k.id = r.key_id AND p.id = r.project_id AND t.id = r.team_id
$$;

-- What is told of the budget that refused.
CREATE FUNCTION gateway_binding(p_budget bigint, p_team bigint, p_window_end timestamptz, p_limit numeric, p_spent numeric, p_held numeric, p_now timestamptz) RETURNS json
LANGUAGE sql STABLE AS $$
  SELECT json_build_object('id', b.public_id, 'scope', b.scope_kind, 'window', b.window, 'limit_usd', p_limit::numeric(28, 12)::text, 'spent_usd', p_spent::text,
    'held_usd', p_held::text, 'resets_at', p_window_end, 'name', CASE b.scope_kind
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

-- The bound of every open unit of a call: what the caller says, else what the model may use at most. Null where a priced unit has no bound.
CREATE FUNCTION gateway_unit_bounds(p_asked jsonb, p_most jsonb, p_rates jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN bool_or(rate.value <> '0' AND NOT (coalesce(p_asked, '{}') || p_most) ? rate.key) THEN NULL
              ELSE coalesce(jsonb_object_agg(rate.key, coalesce(p_asked->rate.key, p_most->rate.key)) FILTER (WHERE (coalesce(p_asked, '{}') || p_most) ? rate.key), '{}') END
  FROM jsonb_each(p_rates) rate
$$;

-- Who calls what: every call of a batch with all that decides before money does. `refusal` is null when the call may go on to prices and budgets. `step` is where
-- the price list's step for this input begins: calls of one model and context that agree in it have one card.
CREATE FUNCTION gateway_callers(p_calls jsonb, p_now timestamptz)
RETURNS TABLE (place int, refusal text, hidden_reason text, seen budgets_reservation, digest bytea, source text, request_id text, request_hash bytea, reservation text, route text, asked_model text, project_asked text, input_bound bigint,
  context_window bigint, max_output bigint, choices int, context text, units jsonb, key_id bigint, key_public text, key_name text, suspended_reason text, owner_id bigint, project_id bigint, project_code text,
  team_id bigint, team_code text, department_id bigint, model_id bigint, model_name text, mode text, tier_id int, model_max_output bigint, default_output bigint, floor_output bigint,
  declared_free boolean, hold_units jsonb, granted boolean, step bigint)
LANGUAGE sql STABLE AS $$
  WITH call AS (
    SELECT c.*, k.id AS key_id, k.public_id AS key_public, k.name AS key_name, k.suspended_at, k.suspended_reason, k.owner_id, k.project_id, p.code AS project_code, p.team_id, t.code AS team_code,
      t.department_id, m.id AS model_id, m.name AS model_name, m.mode AS model_mode, m.tier_id, m.context_window_tokens, m.max_output_tokens, m.declared_free, m.hold_units,
      least(c.input, m.context_window_tokens) AS input_bound, r.seen,
      CASE WHEN k.id IS NULL THEN 'unknown' WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= p_now THEN 'expired' WHEN NOT u.is_active THEN 'owner_inactive'
           WHEN p.archived_at IS NOT NULL THEN 'project_archived' WHEN k.previous_until <= p_now AND k.secret_hmac <> ALL (c.digests) THEN 'replaced' END AS hidden_reason
    FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (source text, request_id text, request_hash bytea, reservation text, digests bytea[], model text, mode text, route text, project text, input bigint,
        max_output bigint, choices int, context text, units jsonb)) WITH ORDINALITY
      AS c (source, request_id, request_hash, reservation, digests, model, mode, route, project, input, max_output, choices, context, units, place)
    LEFT JOIN LATERAL (SELECT x AS seen FROM budgets_reservation x WHERE x.source = c.source AND x.request_id = c.request_id OFFSET 0) r ON true  -- OFFSET 0: one look a call, however the tables grow
    -- A key is found by its secret, and by the one before it, which is good until its overlap ends.
    CROSS JOIN LATERAL (SELECT coalesce(
                          (SELECT a.id FROM unnest(c.digests) AS d (digest) CROSS JOIN LATERAL (SELECT x.id FROM keys_apikey x WHERE x.secret_hmac = d.digest OFFSET 0) a LIMIT 1),
                          (SELECT a.id FROM unnest(c.digests) AS d (digest) CROSS JOIN LATERAL (SELECT x.id FROM keys_apikey x WHERE x.previous_hmac = d.digest OFFSET 0) a
                           LIMIT 1)) AS key_id,
                        coalesce((SELECT l.id FROM catalog_llmmodel l WHERE l.name = c.model), (SELECT l.model_id FROM catalog_alias l WHERE l.name = c.model)) AS model_id OFFSET 0) found
    LEFT JOIN keys_apikey k ON k.id = found.key_id
    LEFT JOIN teams_project p ON p.id = k.project_id LEFT JOIN teams_team t ON t.id = p.team_id LEFT JOIN teams_user u ON u.id = k.owner_id
    LEFT JOIN catalog_llmmodel m ON m.id = found.model_id AND m.retired_at IS NULL
  )
  SELECT c.place::int, CASE WHEN c.hidden_reason IS NOT NULL THEN 'invalid_api_key' WHEN c.suspended_at IS NOT NULL THEN 'key_suspended' WHEN c.project <> c.project_code THEN 'project_mismatch'
      WHEN c.mode IS NULL THEN 'route_not_allowed' WHEN c.model_id IS NULL OR c.model_mode <> c.mode THEN 'model_unknown' END,
    c.hidden_reason, c.seen, c.digests[1], c.source, c.request_id, c.request_hash, c.reservation, c.route, c.model, c.project, c.input_bound, c.context_window_tokens, c.max_output, c.choices, c.context, c.units, c.key_id, c.key_public,
    c.key_name, c.suspended_reason, c.owner_id, c.project_id, c.project_code, c.team_id, c.team_code, c.department_id, c.model_id, c.model_name, c.model_mode, c.tier_id,
    CASE WHEN c.model_mode = 'chat' THEN c.max_output_tokens ELSE 0 END, tier.default_max_output_tokens, tier.floor_max_output_tokens, c.declared_free, c.hold_units,
    c.tier_id = 1 OR EXISTS (SELECT FROM keys_grant g WHERE g.key_id = c.key_id AND g.tier_id = c.tier_id AND g.revoked_at IS NULL AND g.starts_at <= p_now AND g.expires_at > p_now
                             AND (g.model_ids = '{}' OR c.model_id = ANY (g.model_ids))),
    (SELECT max(x.tier_start) FROM catalog_price x WHERE x.model_id = c.model_id AND x.valid_from <= p_now AND x.tier_start <= c.input_bound)
  FROM call c LEFT JOIN catalog_tier tier ON tier.number = c.tier_id
$$;

-- Who decides requests for a tier, in order, by the policy in force; null where there is none.
CREATE FUNCTION gateway_deciders(p_tier int) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT json_agg(stage.value->>'role' ORDER BY stage.ordinality) FROM approvals_policy p CROSS JOIN LATERAL jsonb_array_elements(p.stages) WITH ORDINALITY AS stage
          WHERE p.tier_id = p_tier AND p.retired_at IS NULL);
END $$;

-- Who leads a team now, for a sentence; null where nobody does.
CREATE FUNCTION gateway_leads(p_team bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT string_agg(u.name, ' or ' ORDER BY u.name, u.id) FROM teams_roleassignment a JOIN teams_user u ON u.id = a.user_id
          WHERE a.role = 'lead' AND a.team_id = p_team AND u.is_active AND a.valid_from <= clock_timestamp() AND (a.valid_until IS NULL OR a.valid_until > clock_timestamp()));
END $$;

-- The budgets on the path of a key that calls a model, with the balance of the window that holds `p_now`, null where it is not made yet.
CREATE FUNCTION gateway_path(p_key bigint, p_project bigint, p_team bigint, p_department bigint, p_tier int, p_model bigint, p_now timestamptz)
RETURNS TABLE (id bigint, mode text, window_start timestamptz, window_end timestamptz) LANGUAGE sql STABLE AS $$
  SELECT b.id, b.mode, x.window_start, x.window_end
  FROM budgets_path(p_key, p_project, p_team, p_department, p_tier, p_model) b
  LEFT JOIN LATERAL (SELECT o.window_start, o.window_end FROM budgets_balance o WHERE o.budget_id = b.id AND o.window_start <= p_now ORDER BY o.window_start DESC LIMIT 1) x
    ON x.window_end > p_now
$$;

-- The limit of a budget in force: its base and every top-up that has not ended; null where there is none. As rows, so that the planner takes it into the statement.
CREATE FUNCTION gateway_limit(p_budget bigint, p_now timestamptz) RETURNS TABLE (limit_usd numeric) LANGUAGE sql STABLE AS $$
  SELECT (SELECT l.amount_usd FROM budgets_budgetlimit l WHERE l.budget_id = p_budget AND l.kind = 'base' AND l.valid_from <= p_now ORDER BY l.valid_from DESC, l.id DESC LIMIT 1)
    + coalesce((SELECT sum(l.amount_usd) FROM budgets_budgetlimit l WHERE l.budget_id = p_budget AND l.kind = 'top_up' AND l.valid_from <= p_now AND l.valid_until > p_now), 0)
$$;

-- Locks the balances in one order and reads them with the limits in force: rows come in the order of `p_budgets`, which is sorted.
CREATE FUNCTION gateway_lock_balances(p_budgets bigint[], p_starts timestamptz[], p_now timestamptz)
RETURNS TABLE (spent_usd numeric, reserved_usd numeric, mean_call_seconds float, window_end timestamptz, limit_usd numeric) LANGUAGE sql AS $$
  SELECT b.spent_usd, b.reserved_usd, b.mean_call_seconds, b.window_end, l.limit_usd
  FROM (SELECT x.* FROM unnest(p_budgets, p_starts) AS path (budget_id, window_start) JOIN budgets_balance x USING (budget_id, window_start)
        ORDER BY x.budget_id, x.window_start FOR NO KEY UPDATE OF x) b
  CROSS JOIN LATERAL gateway_limit(b.budget_id, p_now) l
  ORDER BY b.budget_id
$$;

-- A call that goes on to the budgets: what it may hold, and on what.
CREATE TYPE gateway_call AS (
  place int,
  source text,
  request_id text,
  request_hash bytea,
  reservation text,         -- the id that its reservation gets
  key_id bigint,
  key_public text,
  owner_id bigint,
  project_id bigint,
  project_code text,
  team_id bigint,
  team_code text,
  department_id bigint,
  model_id bigint,
  tier_id int,
  route text,
  context text,
  choices int,
  input_bound bigint,
  units jsonb,
  floor_usd numeric,        -- what the input alone costs
  fixed_usd numeric,        -- the most that everything but the output costs
  per_output_usd numeric,   -- the most that a token of output costs, of all choices together
  least_output bigint,      -- of each choice; a call is of no use with less
  output bigint,            -- of each choice: first what it wants, then what it gets
  held_tokens bigint,
  held_usd numeric,
  warnings jsonb,
  budget_ids bigint[],
  window_starts timestamptz[],
  rate_ids bigint[]
);
-- A call that is answered before it holds anything.
CREATE TYPE gateway_refusal AS (place int, code text, answer json, key_id bigint, project_id bigint, team_id bigint, department_id bigint, model_id bigint);

-- Checks calls one after the other against rates and budgets, each with what those before it hold, and cuts their output to what fits. A call that may go on has no
-- `code`; one that was let in elsewhere meanwhile has `again`. Locks the rate limits and balances until the end of the transaction.
CREATE FUNCTION gateway_fit(p_calls gateway_call[], p_now timestamptz) RETURNS TABLE (call gateway_call, code text, answer json) LANGUAGE plpgsql AS $$
DECLARE
  n int;
  v_epoch float := extract(epoch FROM p_now);
  v_turns int[];
  v_known boolean[];
  v_allowed text[] := '{}';
  -- of each balance and each rate limit, in the order of their ids; and their places on the paths, one call after the other
  v_budgets bigint[]; v_starts timestamptz[]; v_ends timestamptz[]; v_modes text[]; v_limits numeric[]; v_spent numeric[]; v_reserved numeric[]; v_mean float[]; v_on int[];
  v_rates bigint[]; v_rate_rpm float[]; v_rate_tpm float[]; v_rate_most int[]; v_rate_flight int[]; v_rate_tat float[]; v_rate_token_tat float[]; v_rate_on int[];
  -- of the call at hand
  c int := 0; v_from int; v_to int := 0; v_rate_from int; v_rate_to int := 0;
  v_free numeric; v_least_free numeric; v_left numeric; v_tight int; v_is_spent boolean; v_opens timestamptz; v_spends boolean; v_opened timestamptz; v_wait float; v_why text; v_slow int;
BEGIN
  SELECT array_agg(path.rank ORDER BY path.ordinality, path.id) INTO v_on
    FROM (SELECT c.ordinality, b.id, dense_rank() OVER (ORDER BY b.id) AS rank FROM unnest(p_calls) WITH ORDINALITY c CROSS JOIN LATERAL unnest(c.budget_ids) AS b (id)) path;
  SELECT array_agg(path.rank ORDER BY path.ordinality, path.id) INTO v_rate_on
    FROM (SELECT c.ordinality, l.id, dense_rank() OVER (ORDER BY l.id) AS rank FROM unnest(p_calls) WITH ORDINALITY c CROSS JOIN LATERAL unnest(c.rate_ids) AS l (id)) path;
  SELECT array_agg(b.id ORDER BY b.id), array_agg(b.mode ORDER BY b.id), array_agg(x.window_start ORDER BY b.id) INTO v_budgets, v_modes, v_starts
    FROM (SELECT DISTINCT path.id, path.window_start FROM unnest(p_calls) c CROSS JOIN LATERAL unnest(c.budget_ids, c.window_starts) AS path (id, window_start)) x JOIN budgets_budget b USING (id);
  -- The locks: rate limits first.
  SELECT array_agg(l.id), array_agg(60.0 / l.requests_per_minute), array_agg(60.0 / l.tokens_per_minute), array_agg(l.parallel_calls), array_agg(l.in_flight),
      array_agg(greatest(extract(epoch FROM l.requests_tat), v_epoch)), array_agg(greatest(extract(epoch FROM l.tokens_tat), v_epoch))
    INTO v_rates, v_rate_rpm, v_rate_tpm, v_rate_most, v_rate_flight, v_rate_tat, v_rate_token_tat
    FROM (SELECT x.* FROM (SELECT DISTINCT unnest(c.rate_ids) AS id FROM unnest(p_calls) c) rate JOIN budgets_ratelimit x USING (id) ORDER BY x.id FOR NO KEY UPDATE OF x) l;
  SELECT array_agg(b.spent_usd), array_agg(b.reserved_usd), array_agg(b.mean_call_seconds), array_agg(b.window_end), array_agg(b.limit_usd) INTO v_spent, v_reserved, v_mean, v_ends, v_limits
    FROM gateway_lock_balances(v_budgets, v_starts, p_now) b;
  -- One that was let in before, or elsewhere while the locks were waited for, holds nothing again.
  SELECT array_agg(c.turn ORDER BY c.ordinality), array_agg(c.is_known ORDER BY c.ordinality) INTO v_turns, v_known
    FROM (SELECT x.ordinality, row_number() OVER (PARTITION BY x.source, x.request_id ORDER BY x.ordinality) AS turn,
            EXISTS (SELECT FROM budgets_reservation r WHERE r.source = x.source AND r.request_id = x.request_id) AS is_known
          FROM unnest(p_calls) WITH ORDINALITY x) c;

  FOREACH call IN ARRAY p_calls LOOP
    c := c + 1; code := NULL; answer := NULL;
    v_from := v_to + 1; v_to := v_to + cardinality(call.budget_ids);
    v_rate_from := v_rate_to + 1; v_rate_to := v_rate_to + cardinality(call.rate_ids);
    IF v_known[c] OR v_turns[c] > 1 AND call.source || ' ' || call.request_id = ANY (v_allowed) THEN
      code := 'again';  -- or the same request twice in one batch: answered when the first is booked
      RETURN NEXT;
      CONTINUE;
    END IF;
    -- What the tightest hard budget leaves, and how many output tokens that buys; and what the tightest of any mode leaves.
    v_free := NULL; v_least_free := NULL; v_tight := NULL;
    FOR i IN v_from .. v_to LOOP
      n := v_on[i];
      v_left := v_limits[n] - v_spent[n] - v_reserved[n];
      v_least_free := least(v_least_free, v_left);
      IF v_modes[n] = 'hard' THEN v_free := least(v_free, v_left); END IF;
    END LOOP;
    IF call.held_usd > v_free AND call.per_output_usd > 0 THEN
      call.output := greatest(least(call.output, floor((v_free - call.fixed_usd) / call.per_output_usd)), call.least_output);
      call.held_usd := gateway_round_up(call.fixed_usd + call.output * call.per_output_usd);
      call.held_tokens := call.input_bound + call.output * call.choices;
    END IF;

    -- Rates first: requests and tokens by GCRA with a burst of one minute, calls in flight by count.
    v_slow := NULL; v_wait := 0;
    FOR i IN v_rate_from .. v_rate_to LOOP
      n := v_rate_on[i];
      IF v_rate_tat[n] + v_rate_rpm[n] - v_epoch - 60 > v_wait + 0.000001 THEN v_wait := v_rate_tat[n] + v_rate_rpm[n] - v_epoch - 60; v_slow := n; v_why := 'requests_per_minute'; END IF;
      IF v_rate_token_tat[n] + call.held_tokens * v_rate_tpm[n] - v_epoch - 60 > v_wait + 0.000001 THEN
        v_wait := v_rate_token_tat[n] + call.held_tokens * v_rate_tpm[n] - v_epoch - 60; v_slow := n; v_why := 'tokens_per_minute';
      END IF;
      IF v_slow IS NULL AND v_rate_flight[n] >= v_rate_most[n] THEN v_slow := n; v_why := 'parallel_calls'; END IF;
    END LOOP;
    IF v_slow IS NOT NULL THEN
      code := 'rate_limited';
      answer := (SELECT json_build_object('limit', v_why, 'scope', l.scope_kind, 'allowed', CASE v_why WHEN 'requests_per_minute' THEN l.requests_per_minute WHEN 'tokens_per_minute' THEN l.tokens_per_minute
          ELSE l.parallel_calls END, 'needed_tokens', call.held_tokens,
          'seconds', CASE WHEN v_why = 'parallel_calls' THEN least(greatest(ceil(CASE WHEN v_from <= v_to THEN v_mean[v_on[v_from]] END), 1), 30) ELSE ceil(v_wait) END,
          'never', v_why = 'tokens_per_minute' AND call.held_tokens > l.tokens_per_minute) FROM budgets_ratelimit l WHERE l.id = v_rates[v_slow]);
    END IF;

    FOR i IN v_from .. CASE WHEN code IS NULL AND call.held_usd > v_least_free THEN v_to ELSE v_from - 1 END LOOP
      n := v_on[i];
      CONTINUE WHEN call.held_usd = 0 OR v_limits[n] IS NULL OR v_limits[n] - v_spent[n] - v_reserved[n] >= call.held_usd;
      IF v_modes[n] <> 'hard' THEN
        call.warnings := call.warnings || jsonb_build_object('budget', (SELECT public_id FROM budgets_budget WHERE id = v_budgets[n]), 'code', v_modes[n] || '_exceeded');
      ELSE
        -- The one that stays shut longest is the one to name: what is spent before what is only held, then the later opening.
        v_spends := v_spent[n] + call.held_usd > v_limits[n];
        v_opened := gateway_opens_at(v_budgets[n], v_spent[n] + call.held_usd + CASE WHEN v_spends THEN 0 ELSE v_reserved[n] END, p_now, v_ends[n]);
        IF v_tight IS NULL OR (v_spends, v_opened) > (v_is_spent, v_opens) THEN v_tight := n; v_is_spent := v_spends; v_opens := v_opened; END IF;
      END IF;
    END LOOP;
    IF v_tight IS NOT NULL THEN
      code := CASE WHEN v_is_spent THEN 'budget_exhausted' ELSE 'budget_held' END;
      v_wait := least(greatest(ceil(extract(epoch FROM v_opens - p_now)), 1), 366 * 86400);  -- a lifetime never ends
      answer := json_build_object('needed_usd', call.held_usd::text, 'opens_at', v_opens, 'seconds', CASE WHEN v_is_spent THEN v_wait ELSE least(greatest(ceil(v_mean[v_tight]), 1), 30, v_wait) END,
        'budget', gateway_binding(v_budgets[v_tight], call.team_id, v_ends[v_tight], v_limits[v_tight], v_spent[v_tight], v_reserved[v_tight], p_now));
    END IF;
    IF code IS NOT NULL THEN
      RETURN NEXT;
      CONTINUE;
    END IF;

    FOR i IN v_from .. v_to LOOP
      v_reserved[v_on[i]] := v_reserved[v_on[i]] + call.held_usd;
    END LOOP;
    FOR i IN v_rate_from .. v_rate_to LOOP
      n := v_rate_on[i];
      v_rate_tat[n] := v_rate_tat[n] + v_rate_rpm[n]; v_rate_token_tat[n] := v_rate_token_tat[n] + call.held_tokens * v_rate_tpm[n]; v_rate_flight[n] := v_rate_flight[n] + 1;
    END LOOP;
    v_allowed := v_allowed || (call.source || ' ' || call.request_id);
    RETURN NEXT;
  END LOOP;
END $$;

-- The signed form of usage_settle: a signature is used up in the transaction of its effect. `p_calls` are the requests {gateway, nonce}; an item names its own
-- by `signature`, from 1.
CREATE FUNCTION gateway_settle(p_calls jsonb, p_items jsonb, p_zone text) RETURNS TABLE (place int, status text, charged_usd numeric, held_usd numeric) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_used int[] := gateway_use_nonces(p_calls);
  v_places int[];
  v_items jsonb;
BEGIN
  IF v_used = '{}' THEN
    RETURN QUERY SELECT * FROM usage_settle(p_items, p_zone);
    RETURN;
  END IF;
  RETURN QUERY SELECT e.place::int, 'gateway_signature_replayed', NULL::numeric, NULL::numeric FROM jsonb_array_elements(p_items) WITH ORDINALITY AS e (item, place)
    WHERE (e.item->>'signature')::int = ANY (v_used);
  SELECT array_agg(e.place ORDER BY e.place), coalesce(jsonb_agg(e.item ORDER BY e.place), '[]') INTO v_places, v_items
    FROM jsonb_array_elements(p_items) WITH ORDINALITY AS e (item, place) WHERE (e.item->>'signature')::int <> ALL (v_used);
  RETURN QUERY SELECT v_places[s.place], s.status, s.charged_usd, s.held_usd FROM usage_settle(v_items, p_zone) s;
END $$;
