-- Marks signatures as used, {gateway, nonce} each; returns the places (from 1) of those that were used before.
CREATE FUNCTION gateway_use_nonces(p_calls jsonb) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
  v_fresh int;
  v_used int[];
BEGIN
  WITH given AS (
    SELECT c.gateway, c.nonce, min(c.place)::int AS place
    FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (gateway bigint, nonce text)) WITH ORDINALITY AS c (gateway, nonce, place) GROUP BY 1, 2
  ), fresh AS (
    INSERT INTO gateway_used_nonce (gateway_id, nonce, used_at) SELECT gateway, nonce, clock_timestamp() FROM given ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING gateway_id, nonce
  )
  SELECT count(*), array_agg(g.place) INTO v_fresh, v_used FROM given g JOIN fresh f ON f.gateway_id = g.gateway AND f.nonce = g.nonce;
  IF v_fresh = jsonb_array_length(p_calls) THEN RETURN '{}'; END IF;
  RETURN ARRAY(SELECT n FROM generate_series(1, jsonb_array_length(p_calls)) n WHERE n <> ALL (coalesce(v_used, '{}')));
END $$;

-- The answer to an allowed call, from its reservation: the first answer and every repeated one.
CREATE FUNCTION gateway_allowed(r budgets_reservation, p_key text, p_project text, p_team text) RETURNS json LANGUAGE sql STABLE AS $$
  SELECT json_build_object('decision', 'allow', 'reservation', r.public_id, 'expires_at', to_char(r.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'held_usd', r.held_usd::text, 'max_output_tokens', r.max_output_tokens, 'tier', r.tier_id, 'key_id', p_key, 'project', p_project, 'team', p_team, 'warnings', r.warnings)
$$;

-- The same call asked again.
CREATE FUNCTION gateway_repeated(r budgets_reservation) RETURNS json LANGUAGE sql STABLE AS $$
  SELECT gateway_allowed(r, k.public_id, p.code, t.code) FROM keys_apikey k, teams_project p, teams_team t WHERE k.id = r.key_id AND p.id = r.project_id AND t.id = r.team_id
$$;

-- What is told of the budget that refused.
CREATE FUNCTION gateway_binding(p_budget bigint, p_team bigint, p_window_end timestamptz, p_limit numeric, p_spent numeric, p_held numeric, p_now timestamptz) RETURNS json
LANGUAGE sql STABLE AS $$
  SELECT json_build_object('id', b.public_id, 'scope', b.scope_kind, 'window', b.window, 'limit_usd', p_limit::numeric(28, 12)::text, 'spent_usd', p_spent::text,
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

-- The bound of every open unit of a call: what the caller says, else what the model may use at most. Null where a priced unit has no bound.
CREATE FUNCTION gateway_unit_bounds(p_asked jsonb, p_most jsonb, p_rates jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN bool_or(rate.value <> '0' AND NOT (coalesce(p_asked, '{}') || p_most) ? rate.key) THEN NULL
              ELSE coalesce(jsonb_object_agg(rate.key, coalesce(p_asked->rate.key, p_most->rate.key)) FILTER (WHERE (coalesce(p_asked, '{}') || p_most) ? rate.key), '{}') END
  FROM jsonb_each(p_rates) rate
$$;

-- Who calls what: every call of a batch with all that decides before money does. `refusal` is null when the call may go on to prices and budgets.
CREATE FUNCTION gateway_callers(p_calls jsonb, p_now timestamptz)
RETURNS TABLE (place int, refusal text, hidden_reason text, seen budgets_reservation, source text, request_id text, request_hash bytea, route text, asked_model text, project_asked text, input_bound bigint,
  max_output bigint, choices int, context text, units jsonb, key_id bigint, key_public text, key_name text, suspended_reason text, owner_id bigint, project_id bigint, project_code text,
  team_id bigint, team_code text, department_id bigint, model_id bigint, model_name text, mode text, tier_id int, model_max_output bigint, default_output bigint, floor_output bigint,
  declared_free boolean, hold_units jsonb, granted boolean, turn bigint, path_number bigint, card_number bigint)
LANGUAGE sql STABLE AS $$
  WITH call AS (
    SELECT c.*, k.id AS key_id, k.public_id AS key_public, k.name AS key_name, k.suspended_at, k.suspended_reason, k.owner_id, k.project_id, p.code AS project_code, p.team_id, t.code AS team_code,
      t.department_id, m.id AS model_id, m.name AS model_name, m.mode AS model_mode, m.tier_id, m.max_output_tokens, m.declared_free, m.hold_units, m.context_window_tokens, r AS seen,
      CASE WHEN k.id IS NULL THEN 'unknown' WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= p_now THEN 'expired' WHEN NOT u.is_active THEN 'owner_inactive'
           WHEN p.archived_at IS NOT NULL THEN 'project_archived' END AS hidden_reason
    FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (source text, request_id text, request_hash bytea, digests bytea[], model text, mode text, route text, project text, input bigint,
        max_output bigint, choices int, context text, units jsonb)) WITH ORDINALITY
      AS c (source, request_id, request_hash, digests, model, mode, route, project, input, max_output, choices, context, units, place)
    LEFT JOIN budgets_reservation r ON r.source = c.source AND r.request_id = c.request_id
    LEFT JOIN LATERAL (SELECT a.* FROM keys_apikey a WHERE a.secret_hmac = ANY (c.digests) LIMIT 1) k ON true
    LEFT JOIN teams_project p ON p.id = k.project_id LEFT JOIN teams_team t ON t.id = p.team_id LEFT JOIN teams_user u ON u.id = k.owner_id
    LEFT JOIN catalog_llmmodel m ON m.retired_at IS NULL
      AND m.id = coalesce((SELECT l.id FROM catalog_llmmodel l WHERE l.name = c.model), (SELECT l.model_id FROM catalog_alias l WHERE l.name = c.model))
  )
  SELECT c.place::int, CASE WHEN c.hidden_reason IS NOT NULL THEN 'invalid_api_key' WHEN c.suspended_at IS NOT NULL THEN 'key_suspended' WHEN c.project <> c.project_code THEN 'project_mismatch'
      WHEN c.mode IS NULL THEN 'route_not_allowed' WHEN c.model_id IS NULL OR c.model_mode <> c.mode THEN 'model_unknown' END,
    c.hidden_reason, c.seen, c.source, c.request_id, c.request_hash, c.route, c.model, c.project, least(c.input, c.context_window_tokens), c.max_output, c.choices, c.context, c.units, c.key_id, c.key_public,
    c.key_name, c.suspended_reason, c.owner_id, c.project_id, c.project_code, c.team_id, c.team_code, c.department_id, c.model_id, c.model_name, c.model_mode, c.tier_id,
    CASE WHEN c.model_mode = 'chat' THEN c.max_output_tokens ELSE 0 END, tier.default_max_output_tokens, tier.floor_max_output_tokens, c.declared_free, c.hold_units,
    c.tier_id = 1 OR EXISTS (SELECT FROM keys_grant g WHERE g.key_id = c.key_id AND g.tier_id = c.tier_id AND g.revoked_at IS NULL AND g.starts_at <= p_now AND g.expires_at > p_now
                             AND (g.model_ids = '{}' OR c.model_id = ANY (g.model_ids))),
    row_number() OVER (PARTITION BY c.source, c.request_id ORDER BY c.place),
    dense_rank() OVER (ORDER BY c.key_id, c.model_id), dense_rank() OVER (ORDER BY c.model_id, c.context, card.step, card.epoch)
  FROM call c LEFT JOIN catalog_tier tier ON tier.number = c.tier_id LEFT JOIN LATERAL catalog_place(c.model_id, p_now, least(c.input, c.context_window_tokens)) card ON c.model_id IS NOT NULL
$$;

-- The budgets on each path (a key calling a model), with the balance of the window that holds `p_now`, null where it is not made yet. `balance` numbers the
-- distinct budgets in the order of their ids.
CREATE FUNCTION gateway_paths(p_keys bigint[], p_projects bigint[], p_teams bigint[], p_departments bigint[], p_tiers int[], p_models bigint[], p_now timestamptz)
RETURNS TABLE (number int, id bigint, mode text, window_start timestamptz, window_end timestamptz, balance int) LANGUAGE sql STABLE AS $$
  SELECT path.number::int, b.id, b.mode, x.window_start, x.window_end, dense_rank() OVER (ORDER BY b.id)::int
  FROM unnest(p_keys, p_projects, p_teams, p_departments, p_tiers, p_models) WITH ORDINALITY AS path (key_id, project_id, team_id, department_id, tier_id, model_id, number)
  CROSS JOIN LATERAL (VALUES ('key', path.key_id), ('project', path.project_id), ('team', path.team_id), ('department', path.department_id), ('organisation', 0)) AS scope (kind, id)
  JOIN budgets_budget b ON b.scope_kind = scope.kind AND b.scope_id = scope.id AND b.closed_at IS NULL
    AND (b.only_tier_id IS NULL OR b.only_tier_id = path.tier_id) AND (b.only_model_id IS NULL OR b.only_model_id = path.model_id)
  LEFT JOIN LATERAL (SELECT o.window_start, o.window_end FROM budgets_balance o WHERE o.budget_id = b.id AND o.window_start <= p_now ORDER BY o.window_start DESC LIMIT 1) x
    ON x.window_end > p_now
  WHERE path.key_id IS NOT NULL
$$;

-- Locks the balances in one order and reads them with the limits in force: rows come in the order of `p_budgets`, which is sorted.
CREATE FUNCTION gateway_lock_balances(p_budgets bigint[], p_starts timestamptz[], p_now timestamptz)
RETURNS TABLE (spent_usd numeric, reserved_usd numeric, mean_call_seconds float, limit_usd numeric) LANGUAGE sql AS $$
  SELECT b.spent_usd, b.reserved_usd, b.mean_call_seconds,
    (SELECT l.amount_usd FROM budgets_budgetlimit l WHERE l.budget_id = b.budget_id AND l.kind = 'base' AND l.valid_from <= p_now ORDER BY l.valid_from DESC, l.id DESC LIMIT 1)
      + coalesce((SELECT sum(l.amount_usd) FROM budgets_budgetlimit l WHERE l.budget_id = b.budget_id AND l.kind = 'top_up' AND l.valid_from <= p_now AND l.valid_until > p_now), 0)
  FROM (SELECT x.* FROM unnest(p_budgets, p_starts) AS path (budget_id, window_start) JOIN budgets_balance x USING (budget_id, window_start)
        ORDER BY x.budget_id, x.window_start FOR NO KEY UPDATE OF x) b
  ORDER BY b.budget_id
$$;

-- Decides a batch of calls, each on its own, and holds the worst case of those that may go on every budget of their paths: all in one transaction.
--
-- `p_calls` are validated JSON objects {gateway, nonce, source, request_id, request_hash, digests, model, mode, route, project, input, max_output, choices, context, units}.
-- Locks in one order: windows that are made, rate limits, balances, then the new reservations. usage_settle locks reservations that exist, rate limits, balances: no cycle,
-- because nobody else can hold a reservation that is not committed yet. `answer` is the body of an allowed call, or what a refusal needs to be told.
CREATE FUNCTION gateway_authorize(p_calls jsonb, p_ttl interval) RETURNS TABLE (place int, code text, answer json) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz := clock_timestamp();
  v_epoch float := extract(epoch FROM v_now);
  v_used int[] := gateway_use_nonces(p_calls);
  q record;
  p record;
  r budgets_reservation;
  card record;
  n int;
  -- of each call that goes on to the budgets
  v_calls int := 0;
  v_holds budgets_reservation[] := '{}';
  v_places int[] := '{}'; v_paths int[] := '{}'; v_keys text[] := '{}'; v_projects text[] := '{}'; v_teams text[] := '{}';
  v_turns int[] := '{}'; v_again int[] := '{}'; v_wanted bigint[] := '{}'; v_least bigint[] := '{}'; v_fixed numeric[] := '{}'; v_per_output numeric[] := '{}';
  v_allowed budgets_reservation[] := '{}'; v_allowed_calls int[] := '{}'; v_allowed_ids text[] := '{}';
  -- of each distinct key and model: the places of its balances and rate limits. The first may belong to refused calls only: it is null then, so that the others keep their numbers.
  v_path_keys bigint[] := '{NULL}'; v_path_projects bigint[] := '{NULL}'; v_path_teams bigint[] := '{NULL}'; v_path_departments bigint[] := '{NULL}'; v_path_tiers int[] := '{NULL}'; v_path_models bigint[] := '{NULL}';
  v_first int[]; v_last int[]; v_on int[]; v_on_budgets bigint[]; v_on_starts timestamptz[];
  v_rate_first int[] := '{}'; v_rate_last int[] := '{}'; v_rate_on int[] := '{}'; v_on_rates bigint[] := '{}';
  -- of each distinct card
  v_card_in numeric[] := '{}'; v_card_out numeric[] := '{}'; v_card_request numeric[] := '{}'; v_card_floor numeric[] := '{}'; v_card_priced boolean[] := '{}'; v_card_units jsonb[] := '{}';
  v_card_rates jsonb[] := '{}';
  -- of each balance and each rate limit, in locking order
  v_budgets bigint[] := '{}'; v_starts timestamptz[] := '{}'; v_ends timestamptz[] := '{}'; v_modes text[] := '{}'; v_limits numeric[]; v_spent numeric[]; v_reserved numeric[]; v_mean float[];
  v_rates bigint[] := '{}'; v_rate_rpm float[] := '{}'; v_rate_tpm float[] := '{}'; v_rate_most int[] := '{}'; v_rate_flight int[] := '{}'; v_rate_tat float[] := '{}'; v_rate_token_tat float[] := '{}';
  -- of the call at hand
  v_from int; v_to int; v_rate_from int; v_rate_to int;
  v_output bigint; v_hold numeric; v_free numeric; v_least_free numeric; v_left numeric; v_tight int; v_wait float; v_why text; v_slow int; v_units jsonb;
  v_blocked jsonb[] := '{}'; v_unpriced bigint[] := '{}'; v_missing boolean;
BEGIN
  FOR q IN SELECT * FROM gateway_callers(p_calls, v_now) ORDER BY 1 LOOP
    place := q.place; answer := NULL;
    code := CASE WHEN q.place = ANY (v_used) THEN 'gateway_signature_replayed' WHEN (q.seen).id IS NULL THEN q.refusal
                 WHEN (q.seen).request_hash = q.request_hash THEN 'allow' ELSE 'request_id_reused' END;
    IF code = 'allow' THEN answer := gateway_repeated(q.seen); END IF;
    IF code IS NULL THEN
      n := q.card_number;
      IF v_card_priced[n] IS NULL THEN
        SELECT * INTO card FROM catalog_card(q.model_id, q.context, v_now, q.input_bound);
        v_card_in[n] := card.dear_input_usd; v_card_out[n] := card.dear_output_usd; v_card_request[n] := card.dear_request_usd; v_card_floor[n] := card.input_usd;
        v_card_priced[n] := card.priced; v_card_units[n] := card.dear_unit_usd; v_card_rates[n] := card.unit_usd;
      END IF;
      v_units := CASE WHEN v_card_units[n] = '{}' THEN '{}' ELSE gateway_unit_bounds(q.units, q.hold_units, v_card_units[n]) END;
      code := CASE WHEN NOT v_card_priced[n] AND NOT q.declared_free THEN 'model_unpriced' WHEN NOT q.granted THEN 'tier_not_granted' WHEN v_units IS NULL THEN 'use_unbounded' END;
      IF code = 'model_unpriced' THEN v_unpriced := v_unpriced || q.model_id; END IF;
    END IF;
    IF code IS NOT NULL THEN
      IF code NOT IN ('allow', 'request_id_reused', 'gateway_signature_replayed') THEN
        answer := json_build_object('hidden_reason', q.hidden_reason, 'key_name', q.key_name, 'project', q.project_code, 'model', q.model_name, 'tier', q.tier_id, 'suspended_reason', q.suspended_reason);
        IF q.key_id IS NOT NULL THEN v_blocked := v_blocked || jsonb_build_object('k', q.key_id, 'p', q.project_id, 't', q.team_id, 'd', q.department_id, 'c', code); END IF;
      END IF;
      RETURN NEXT;
      CONTINUE;
    END IF;

    v_calls := v_calls + 1;
    v_places[v_calls] := q.place; v_paths[v_calls] := q.path_number; v_keys[v_calls] := q.key_public; v_projects[v_calls] := q.project_code; v_teams[v_calls] := q.team_code;
    v_turns[v_calls] := q.turn;
    v_wanted[v_calls] := least(coalesce(nullif(q.max_output, 0), q.default_output), q.model_max_output);
    v_least[v_calls] := least(v_wanted[v_calls], q.floor_output);
    v_fixed[v_calls] := q.input_bound * v_card_in[n] + v_card_request[n] + CASE WHEN v_units = '{}' THEN 0 ELSE catalog_units_usd(v_units, v_card_units[n]) END;
    v_per_output[v_calls] := q.choices * v_card_out[n];
    r := NULL;
    r.source := q.source; r.request_id := q.request_id; r.request_hash := q.request_hash; r.key_id := q.key_id; r.owner_id := q.owner_id; r.project_id := q.project_id; r.team_id := q.team_id;
    r.department_id := q.department_id; r.model_id := q.model_id; r.tier_id := q.tier_id; r.context := q.context; r.route := q.route; r.input_bound_tokens := q.input_bound; r.choices := q.choices;
    r.units := v_units; r.input_floor_usd := core_round_half_even(q.input_bound * v_card_floor[n] + CASE WHEN v_units = '{}' THEN 0 ELSE catalog_units_usd(v_units, v_card_rates[n]) END, 12);
    v_holds[v_calls] := r;
    n := q.path_number;
    v_path_keys[n] := q.key_id; v_path_projects[n] := q.project_id; v_path_teams[n] := q.team_id; v_path_departments[n] := q.department_id; v_path_tiers[n] := q.tier_id; v_path_models[n] := q.model_id;
  END LOOP;

  IF v_calls > 0 THEN
    -- The budgets on the paths, with the balance of the window that holds this moment; made where it is missing.
    LOOP
      v_missing := false;
      v_first := '{}'; v_last := '{}'; v_on := '{}'; v_on_budgets := '{}'; v_on_starts := '{}';
      FOR p IN
        SELECT * FROM gateway_paths(v_path_keys, v_path_projects, v_path_teams, v_path_departments, v_path_tiers, v_path_models, v_now) ORDER BY number, id
      LOOP
        IF p.window_start IS NULL THEN PERFORM budgets_open_window(p.id, v_now); v_missing := true; END IF;
        v_budgets[p.balance] := p.id; v_starts[p.balance] := p.window_start; v_ends[p.balance] := p.window_end; v_modes[p.balance] := p.mode;
        v_on := v_on || p.balance; v_on_budgets := v_on_budgets || p.id; v_on_starts := v_on_starts || p.window_start;
        v_first[p.number] := coalesce(v_first[p.number], cardinality(v_on));
        v_last[p.number] := cardinality(v_on);
      END LOOP;
      EXIT WHEN NOT v_missing;
    END LOOP;

    -- The rate limits on the paths, locked; then the balances, locked.
    FOR p IN
      SELECT path.number, l.id, dense_rank() OVER (ORDER BY l.id)::int AS rate
      FROM unnest(v_path_keys, v_path_projects, v_path_teams) WITH ORDINALITY AS path (key_id, project_id, team_id, number)
      CROSS JOIN LATERAL (VALUES ('key', path.key_id), ('project', path.project_id), ('team', path.team_id)) AS scope (kind, id)
      JOIN budgets_ratelimit l ON l.scope_kind = scope.kind AND l.scope_id = scope.id ORDER BY path.number, l.id
    LOOP
      v_rates[p.rate] := p.id;
      v_rate_on := v_rate_on || p.rate; v_on_rates := v_on_rates || p.id;
      v_rate_first[p.number] := coalesce(v_rate_first[p.number], cardinality(v_rate_on));
      v_rate_last[p.number] := cardinality(v_rate_on);
    END LOOP;
    IF v_rates <> '{}' THEN
      n := 0;
      FOR p IN SELECT l.* FROM budgets_ratelimit l WHERE l.id = ANY (v_rates) ORDER BY l.id FOR NO KEY UPDATE LOOP
        n := n + 1;
        v_rate_rpm[n] := 60.0 / p.requests_per_minute; v_rate_tpm[n] := 60.0 / p.tokens_per_minute; v_rate_most[n] := p.parallel_calls; v_rate_flight[n] := p.in_flight;
        v_rate_tat[n] := greatest(extract(epoch FROM p.requests_tat), v_epoch); v_rate_token_tat[n] := greatest(extract(epoch FROM p.tokens_tat), v_epoch);
      END LOOP;
    END IF;
    SELECT array_agg(b.spent_usd), array_agg(b.reserved_usd), array_agg(b.mean_call_seconds), array_agg(b.limit_usd) INTO v_spent, v_reserved, v_mean, v_limits
      FROM gateway_lock_balances(v_budgets, v_starts, v_now) b;
  END IF;

  FOR c IN 1 .. v_calls LOOP
    r := v_holds[c];
    IF v_turns[c] > 1 AND EXISTS (SELECT FROM unnest(v_allowed) h WHERE h.source = r.source AND h.request_id = r.request_id) THEN
      v_again := v_again || c;  -- the same request twice in one batch: answered when the first is booked
      CONTINUE;
    END IF;
    -- What the tightest hard budget leaves, and how many output tokens that buys; and what the tightest of any mode leaves.
    v_from := coalesce(v_first[v_paths[c]], 1); v_to := coalesce(v_last[v_paths[c]], 0);
    v_rate_from := coalesce(v_rate_first[v_paths[c]], 1); v_rate_to := coalesce(v_rate_last[v_paths[c]], 0);
    v_free := NULL; v_least_free := NULL; v_tight := NULL;
    FOR i IN v_from .. v_to LOOP
      n := v_on[i];
      v_left := v_limits[n] - v_spent[n] - v_reserved[n];
      v_least_free := least(v_least_free, v_left);
      IF v_modes[n] = 'hard' THEN v_free := least(v_free, v_left); END IF;
    END LOOP;
    v_output := v_wanted[c];
    v_hold := gateway_round_up(v_fixed[c] + v_output * v_per_output[c]);
    IF v_hold > v_free AND v_per_output[c] > 0 THEN
      v_output := greatest(least(v_wanted[c], floor((v_free - v_fixed[c]) / v_per_output[c])), v_least[c]);
      v_hold := gateway_round_up(v_fixed[c] + v_output * v_per_output[c]);
    END IF;
    r.held_tokens := r.input_bound_tokens + v_output * r.choices;

    -- Rates first: requests and tokens by GCRA with a burst of one minute, calls in flight by count.
    v_slow := NULL; v_wait := 0;
    FOR i IN v_rate_from .. v_rate_to LOOP
      n := v_rate_on[i];
      IF v_rate_tat[n] + v_rate_rpm[n] - v_epoch - 60 > v_wait + 0.000001 THEN v_wait := v_rate_tat[n] + v_rate_rpm[n] - v_epoch - 60; v_slow := n; v_why := 'requests_per_minute'; END IF;
      IF v_rate_token_tat[n] + r.held_tokens * v_rate_tpm[n] - v_epoch - 60 > v_wait + 0.000001 THEN
        v_wait := v_rate_token_tat[n] + r.held_tokens * v_rate_tpm[n] - v_epoch - 60; v_slow := n; v_why := 'tokens_per_minute';
      END IF;
      IF v_slow IS NULL AND v_rate_flight[n] >= v_rate_most[n] THEN v_slow := n; v_why := 'parallel_calls'; END IF;
    END LOOP;
    IF v_slow IS NOT NULL THEN
      -- Locks may have waited for another process that let in this same request: then its answer is the answer.
      IF EXISTS (SELECT FROM budgets_reservation x WHERE x.source = r.source AND x.request_id = r.request_id) THEN v_again := v_again || c; CONTINUE; END IF;
      place := v_places[c]; code := 'rate_limited';
      answer := (SELECT json_build_object('limit', v_why, 'scope', l.scope_kind, 'allowed', CASE v_why WHEN 'requests_per_minute' THEN l.requests_per_minute WHEN 'tokens_per_minute' THEN l.tokens_per_minute
          ELSE l.parallel_calls END, 'needed_tokens', r.held_tokens, 'seconds', CASE WHEN v_why = 'parallel_calls' THEN least(greatest(ceil(v_mean[v_on[v_from]]), 1), 30) ELSE ceil(v_wait) END,
          'never', v_why = 'tokens_per_minute' AND r.held_tokens > l.tokens_per_minute) FROM budgets_ratelimit l WHERE l.id = v_rates[v_slow]);
      v_blocked := v_blocked || jsonb_build_object('k', r.key_id, 'p', r.project_id, 't', r.team_id, 'd', r.department_id, 'c', code);
      RETURN NEXT;
      CONTINUE;
    END IF;

    r.warnings := '[]';
    FOR i IN v_from .. CASE WHEN v_hold > v_least_free THEN v_to ELSE v_from - 1 END LOOP
      n := v_on[i];
      CONTINUE WHEN v_hold = 0 OR v_limits[n] IS NULL OR v_limits[n] - v_spent[n] - v_reserved[n] >= v_hold;
      IF v_modes[n] <> 'hard' THEN
        r.warnings := r.warnings || jsonb_build_object('budget', (SELECT public_id FROM budgets_budget WHERE id = v_budgets[n]), 'code', v_modes[n] || '_exceeded');
      ELSIF v_tight IS NULL OR (v_spent[n] + v_hold > v_limits[n], v_ends[n]) > (v_spent[v_tight] + v_hold > v_limits[v_tight], v_ends[v_tight]) THEN
        -- The one that stays shut longest is the one to name: what is spent before what is only held, then the later end.
        v_tight := n;
      END IF;
    END LOOP;
    IF v_tight IS NOT NULL THEN
      IF EXISTS (SELECT FROM budgets_reservation x WHERE x.source = r.source AND x.request_id = r.request_id) THEN v_again := v_again || c; CONTINUE; END IF;
      place := v_places[c];
      code := CASE WHEN v_spent[v_tight] + v_hold > v_limits[v_tight] THEN 'budget_exhausted' ELSE 'budget_held' END;
      answer := json_build_object('needed_usd', v_hold::text, 'seconds_held', least(greatest(ceil(v_mean[v_tight]), 1), 30),
        'budget', gateway_binding(v_budgets[v_tight], r.team_id, v_ends[v_tight], v_limits[v_tight], v_spent[v_tight], v_reserved[v_tight], v_now));
      v_blocked := v_blocked || jsonb_build_object('k', r.key_id, 'p', r.project_id, 't', r.team_id, 'd', r.department_id, 'c', code);
      RETURN NEXT;
      CONTINUE;
    END IF;

    r.public_id := 'rsv_' || left(replace(gen_random_uuid()::text, '-', ''), 28);
    r.budget_ids := v_on_budgets[v_from:v_to]; r.window_starts := v_on_starts[v_from:v_to]; r.rate_ids := v_on_rates[v_rate_from:v_rate_to];
    r.held_usd := v_hold; r.input_floor_usd := least(v_hold, r.input_floor_usd); r.max_output_tokens := nullif(v_output, 0);
    FOR i IN v_from .. v_to LOOP
      v_reserved[v_on[i]] := v_reserved[v_on[i]] + v_hold;
    END LOOP;
    FOR i IN v_rate_from .. v_rate_to LOOP
      n := v_rate_on[i];
      v_rate_tat[n] := v_rate_tat[n] + v_rate_rpm[n]; v_rate_token_tat[n] := v_rate_token_tat[n] + r.held_tokens * v_rate_tpm[n]; v_rate_flight[n] := v_rate_flight[n] + 1;
    END LOOP;
    v_allowed := v_allowed || r;
    v_allowed_calls := v_allowed_calls || c;
    v_allowed_ids := v_allowed_ids || r.public_id::text;
  END LOOP;

  IF v_allowed_calls <> '{}' THEN
    RETURN QUERY
      WITH made AS (
        INSERT INTO budgets_reservation AS x (public_id, source, request_id, request_hash, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, context, route, input_bound_tokens,
            max_output_tokens, choices, units, held_tokens, rate_ids, held_usd, input_floor_usd, budget_ids, window_starts, warnings, state, authorized_at, expires_at)
          SELECT h.public_id, h.source, h.request_id, h.request_hash, h.key_id, h.owner_id, h.project_id, h.team_id, h.department_id, h.model_id, h.tier_id,
            h.context, h.route, h.input_bound_tokens, h.max_output_tokens, h.choices, h.units, h.held_tokens, h.rate_ids, h.held_usd, h.input_floor_usd, h.budget_ids, h.window_starts, h.warnings, 'open',
            v_now, v_now + p_ttl
          FROM unnest(v_allowed) h ORDER BY h.source, h.request_id ON CONFLICT (source, request_id) DO NOTHING RETURNING x.public_id, x.held_usd, x.budget_ids, x.window_starts, x.rate_ids, x AS hold
      ), reserved AS (
        UPDATE budgets_balance b SET reserved_usd = b.reserved_usd + held.usd
          FROM (SELECT path.budget_id, path.window_start, sum(made.held_usd) AS usd FROM made CROSS JOIN LATERAL unnest(made.budget_ids, made.window_starts) AS path (budget_id, window_start) GROUP BY 1, 2) held
          WHERE b.budget_id = held.budget_id AND b.window_start = held.window_start
      ), counted AS (
        UPDATE budgets_ratelimit l SET in_flight = l.in_flight + started.calls, requests_tat = to_timestamp(v_rate_tat[started.rate]), tokens_tat = to_timestamp(v_rate_token_tat[started.rate])
          FROM (SELECT rate_id, count(*) AS calls, array_position(v_rates, rate_id) AS rate FROM made, unnest(made.rate_ids) rate_id GROUP BY 1) started
          WHERE l.id = started.rate_id
      )
      SELECT v_places[c.call], 'allow', gateway_allowed(made.hold, v_keys[c.call], v_projects[c.call], v_teams[c.call])
      FROM unnest(v_allowed_calls, v_allowed_ids) AS c (call, public_id) JOIN made USING (public_id);
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n < cardinality(v_allowed_calls) THEN
      -- The same request came twice at once and another was first: its answer is the answer.
      RETURN QUERY
        SELECT v_places[c.call], CASE WHEN x.request_hash = h.request_hash THEN 'allow' ELSE 'request_id_reused' END, CASE WHEN x.request_hash = h.request_hash THEN gateway_repeated(x) END
        FROM unnest(v_allowed) h JOIN unnest(v_allowed_calls, v_allowed_ids) AS c (call, public_id) USING (public_id)
        JOIN budgets_reservation x ON x.source = h.source AND x.request_id = h.request_id AND x.public_id <> h.public_id;
    END IF;
  END IF;
  IF v_again <> '{}' THEN
    RETURN QUERY
      SELECT v_places[c], CASE WHEN x.request_hash = (v_holds[c]).request_hash THEN 'allow' ELSE 'request_id_reused' END,
        CASE WHEN x.request_hash = (v_holds[c]).request_hash THEN gateway_repeated(x) END
      FROM unnest(v_again) c JOIN budgets_reservation x ON x.source = (v_holds[c]).source AND x.request_id = (v_holds[c]).request_id;
  END IF;

  -- What was refused to whom, so that people see it; and models that wait for a price.
  IF v_blocked <> '{}' THEN
    INSERT INTO usage_blocked_hour AS b (hour, key_id, project_id, team_id, department_id, code, calls, last_at)
      SELECT date_trunc('hour', v_now, 'UTC'), (x->>'k')::bigint, (x->>'p')::bigint, (x->>'t')::bigint, (x->>'d')::bigint, x->>'c', count(*), v_now FROM unnest(v_blocked) x
      GROUP BY 2, 3, 4, 5, 6 ORDER BY 2, 3, 4, 5, 6
      ON CONFLICT (hour, key_id, project_id, team_id, department_id, code) DO UPDATE SET calls = b.calls + excluded.calls, last_at = excluded.last_at;
  END IF;
  IF v_unpriced <> '{}' THEN
    INSERT INTO catalog_unpriced_call AS u (model_id, calls, first_at, last_at) SELECT id, count(*), v_now, v_now FROM unnest(v_unpriced) id GROUP BY 1 ORDER BY 1
      ON CONFLICT (model_id) DO UPDATE SET calls = u.calls + excluded.calls, last_at = excluded.last_at;
  END IF;
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
