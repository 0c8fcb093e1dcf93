-- Standings: what a key may do with a model, remembered from one decision to the next. docs/adr/0020 says why a standing can be trusted.
--
-- Whatever a standing is made of is watched by triggers: a transaction that changes any of it leaves its number in gateway_standing_change, which becomes visible with the
-- change itself. A standing carries the snapshot that it was looked up under (`seen`) and the oldest transaction that was under way then (`seen_before`): every change that it
-- cannot have seen has that number or a later one. So it holds while the latest change is an earlier one, and else while its snapshot shows every change from there on.
-- A transaction's own changes are counted (`seen_turn`). What changes with time alone ends at `valid_until`.
ALTER TABLE gateway_standing SET UNLOGGED;
ALTER TABLE gateway_standing SET (fillfactor = 70);
ALTER TABLE gateway_standing_change SET UNLOGGED;
ALTER TYPE gateway_call ADD ATTRIBUTE limits_usd numeric[];  -- of budget_ids; null where a budget has no limit

CREATE FUNCTION gateway_forget_standings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO gateway_standing_change AS c (xid, turn, at) VALUES (pg_current_xact_id()::text::bigint, 1, clock_timestamp()) ON CONFLICT (xid) DO UPDATE SET turn = c.turn + 1;
  RETURN NULL;
END $$;

-- A key, person, project, team or grant that is new takes nothing away from a standing. Columns are named where a table changes for other reasons as well.
CREATE TRIGGER standings_are_forgotten AFTER DELETE OR TRUNCATE OR UPDATE OF public_id, project_id, owner_id, secret_hmac, previous_hmac, previous_until, expires_at, suspended_at, revoked_at
  ON keys_apikey FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER DELETE OR TRUNCATE OR UPDATE ON keys_grant FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER DELETE OR TRUNCATE OR UPDATE OF is_active ON teams_user FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER DELETE OR TRUNCATE OR UPDATE OF code, team_id, archived_at ON teams_project FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER DELETE OR TRUNCATE OR UPDATE OF code, department_id ON teams_team FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON catalog_llmmodel FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON catalog_alias FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER DELETE OR TRUNCATE OR UPDATE ON catalog_tier FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON catalog_price FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON budgets_budget FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON budgets_budgetlimit FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER DELETE OR TRUNCATE ON budgets_balance FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();
CREATE TRIGGER standings_are_forgotten AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF scope_kind, scope_id ON budgets_ratelimit FOR EACH STATEMENT EXECUTE FUNCTION gateway_forget_standings();

-- What a call of a standing holds. `p_units` are the bounds of its open units, `p_unit_usd` and `p_dear_unit_usd` what they cost and cost at most; '{}' where nothing but tokens is paid for.
CREATE FUNCTION gateway_costed(p_place int, p_source text, p_request_id text, p_request_hash bytea, p_reservation text, p_route text, p_choices int, p_input bigint, p_max_output bigint,
  p_units jsonb, p_unit_usd jsonb, p_dear_unit_usd jsonb, s gateway_standing) RETURNS gateway_call LANGUAGE sql IMMUTABLE AS $$
  SELECT ROW(p_place, p_source, p_request_id, p_request_hash, p_reservation, s.key_id, s.key_public, s.owner_id, s.project_id, s.project_code, s.team_id, s.team_code, s.department_id,
    s.model_id, s.tier_id, p_route, s.context, p_choices, least(p_input, s.context_window_tokens), p_units,
    core_round_half_even(least(p_input, s.context_window_tokens) * s.input_usd + CASE WHEN p_units = '{}' THEN 0 ELSE catalog_units_usd(p_units, p_unit_usd) END, 12),
    least(p_input, s.context_window_tokens) * s.dear_input_usd + s.dear_request_usd + CASE WHEN p_units = '{}' THEN 0 ELSE catalog_units_usd(p_units, p_dear_unit_usd) END,
    p_choices * s.dear_output_usd,
    least(coalesce(nullif(p_max_output, 0), s.default_output_tokens), s.max_output_tokens, s.floor_output_tokens),
    least(coalesce(nullif(p_max_output, 0), s.default_output_tokens), s.max_output_tokens),
    least(p_input, s.context_window_tokens) + p_choices * least(coalesce(nullif(p_max_output, 0), s.default_output_tokens), s.max_output_tokens),
    gateway_round_up(least(p_input, s.context_window_tokens) * s.dear_input_usd + s.dear_request_usd + CASE WHEN p_units = '{}' THEN 0 ELSE catalog_units_usd(p_units, p_dear_unit_usd) END
      + p_choices * s.dear_output_usd * least(coalesce(nullif(p_max_output, 0), s.default_output_tokens), s.max_output_tokens)),
    '[]', s.budget_ids, s.window_starts, s.rate_ids, s.limits_usd)::gateway_call
$$;

-- Remembers what was looked up at `p_now`, until the first moment at which time alone changes any of it.
CREATE FUNCTION gateway_remember(p_standings gateway_standing[], p_now timestamptz, p_seen pg_snapshot, p_seen_turn int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO gateway_standing AS x
    SELECT DISTINCT ON (s.digest, s.asked_model, s.context) s.digest, s.asked_model, s.context, s.mode, s.key_id, s.key_public, s.owner_id, s.project_id, s.project_code, s.team_id, s.team_code,
      s.department_id, s.model_id, s.tier_id, s.context_window_tokens, s.max_output_tokens, s.default_output_tokens, s.floor_output_tokens, s.below_input_tokens, s.input_usd, s.dear_input_usd,
      s.dear_request_usd, s.dear_output_usd, s.budget_ids, s.window_starts, s.limits_usd, s.rate_ids, p_now,
      least((SELECT least(k.expires_at, CASE WHEN k.previous_until > p_now THEN k.previous_until END) FROM keys_apikey k WHERE k.id = s.key_id),
        (SELECT min(e.at) FROM keys_grant g CROSS JOIN LATERAL (VALUES (g.starts_at), (g.expires_at)) AS e (at) WHERE g.key_id = s.key_id AND e.at > p_now),
        (SELECT min(e.at) FROM catalog_price p CROSS JOIN LATERAL (VALUES (p.valid_from), (p.valid_until)) AS e (at) WHERE p.model_id = s.model_id AND e.at > p_now),
        (SELECT min(e.at) FROM unnest(s.budget_ids) AS b (id) JOIN budgets_budgetlimit l ON l.budget_id = b.id CROSS JOIN LATERAL (VALUES (l.valid_from), (l.valid_until)) AS e (at) WHERE e.at > p_now),
        (SELECT min(o.window_end) FROM unnest(s.budget_ids, s.window_starts) AS b (id, window_start) JOIN budgets_balance o ON o.budget_id = b.id AND o.window_start = b.window_start)),
      pg_snapshot_xmin(p_seen)::text::bigint, p_seen_turn, p_seen::text, pg_postmaster_start_time()
    FROM unnest(p_standings) s ORDER BY 1, 2, 3
    ON CONFLICT (digest, asked_model, context) DO UPDATE SET (mode, key_id, key_public, owner_id, project_id, project_code, team_id, team_code, department_id, model_id, tier_id,
        context_window_tokens, max_output_tokens, default_output_tokens, floor_output_tokens, below_input_tokens, input_usd, dear_input_usd, dear_request_usd, dear_output_usd, budget_ids,
        window_starts, limits_usd, rate_ids, known_at, valid_until, seen_before, seen_turn, seen, server_started_at)
      = (excluded.mode, excluded.key_id, excluded.key_public, excluded.owner_id, excluded.project_id, excluded.project_code, excluded.team_id, excluded.team_code, excluded.department_id,
        excluded.model_id, excluded.tier_id, excluded.context_window_tokens, excluded.max_output_tokens, excluded.default_output_tokens, excluded.floor_output_tokens, excluded.below_input_tokens,
        excluded.input_usd, excluded.dear_input_usd, excluded.dear_request_usd, excluded.dear_output_usd, excluded.budget_ids, excluded.window_starts, excluded.limits_usd, excluded.rate_ids,
        excluded.known_at, excluded.valid_until, excluded.seen_before, excluded.seen_turn, excluded.seen, excluded.server_started_at);
END $$;

-- Looks up who calls what, and refuses what may not be called: `calls` go on to rates and budgets. What was looked up is remembered.
CREATE FUNCTION gateway_look_up(p_calls jsonb, p_used int[], p_now timestamptz, OUT calls gateway_call[], OUT refused gateway_refusal[]) LANGUAGE plpgsql AS $$
DECLARE
  v_seen pg_snapshot := pg_current_snapshot();  -- no younger than that of anything below
  v_seen_turn int := (SELECT c.turn FROM gateway_standing_change c WHERE c.xid = pg_current_xact_id()::text::bigint);
  v_standings gateway_standing[];
  v_missing boolean;
BEGIN
  LOOP
    WITH caller AS MATERIALIZED (
      SELECT c.*, CASE WHEN c.place = ANY (p_used) THEN 'gateway_signature_replayed' WHEN (c.seen).id IS NULL THEN c.refusal
                       WHEN (c.seen).request_hash = c.request_hash THEN 'allow' ELSE 'request_id_reused' END AS known
      FROM gateway_callers(p_calls, p_now) c
    ), card AS MATERIALIZED (
      SELECT k.*, c.*, (SELECT min(x.tier_start) FROM catalog_price x WHERE x.model_id = k.model_id AND x.tier_start > coalesce(k.step, 0)) AS next_step
      FROM (SELECT DISTINCT model_id, context, step FROM caller WHERE known IS NULL) k CROSS JOIN LATERAL catalog_card(k.model_id, k.context, p_now, coalesce(k.step, 0)) c
    ), priced AS (
      SELECT q.*, coalesce(q.known, CASE WHEN NOT card.priced AND NOT q.declared_free THEN 'model_unpriced' WHEN NOT q.granted THEN 'tier_not_granted' WHEN bound.units IS NULL THEN 'use_unbounded' END) AS code,
        bound.units AS bound_units, card.input_usd, card.unit_usd, card.dear_input_usd, card.dear_request_usd, card.dear_output_usd, card.dear_unit_usd, card.next_step
      FROM caller q LEFT JOIN card ON q.known IS NULL AND card.model_id = q.model_id AND card.context = q.context AND card.step IS NOT DISTINCT FROM q.step
      CROSS JOIN LATERAL (SELECT CASE WHEN card.dear_unit_usd = '{}' THEN '{}' ELSE gateway_unit_bounds(q.units, q.hold_units, card.dear_unit_usd) END OFFSET 0) AS bound (units)
    ), standing AS (
      SELECT p.*, path.is_missing, CASE WHEN p.code IS NULL THEN ROW(p.digest, p.asked_model, p.context, p.mode, p.key_id, p.key_public, p.owner_id, p.project_id, p.project_code, p.team_id, p.team_code,
          p.department_id, p.model_id, p.tier_id, p.context_window, p.model_max_output, p.default_output, p.floor_output, p.next_step, p.input_usd, p.dear_input_usd, p.dear_request_usd, p.dear_output_usd,
          path.budget_ids, path.window_starts, path.limits_usd, path.rate_ids, NULL, NULL, NULL, NULL, NULL, NULL)::gateway_standing END AS standing
      FROM priced p LEFT JOIN LATERAL (
        SELECT coalesce(array_agg(b.id ORDER BY b.id), '{}') AS budget_ids, coalesce(array_agg(b.window_start ORDER BY b.id), '{}') AS window_starts,
          coalesce(array_agg(l.limit_usd ORDER BY b.id), '{}') AS limits_usd, bool_or(b.window_start IS NULL) AS is_missing,
          ARRAY(SELECT r.id FROM (VALUES ('key', p.key_id), ('project', p.project_id), ('team', p.team_id)) AS scope (kind, id)
                JOIN budgets_ratelimit r ON r.scope_kind = scope.kind AND r.scope_id = scope.id ORDER BY r.id) AS rate_ids
        FROM gateway_path(p.key_id, p.project_id, p.team_id, p.department_id, p.tier_id, p.model_id, p_now) b CROSS JOIN LATERAL gateway_limit(b.id, p_now) l
      ) path ON p.code IS NULL
    )
    SELECT array_agg(gateway_costed(c.place, c.source, c.request_id, c.request_hash, c.reservation, c.route, c.choices, c.input_bound, c.max_output, c.bound_units, c.unit_usd, c.dear_unit_usd, c.standing)
          ORDER BY c.place) FILTER (WHERE c.code IS NULL),
        array_agg(c.standing) FILTER (WHERE c.code IS NULL AND c.dear_unit_usd = '{}' AND coalesce(c.step, 0) = 0), bool_or(c.is_missing),
        array_agg(ROW(c.place, c.code, CASE WHEN c.code = 'allow' THEN gateway_repeated(c.seen) WHEN c.code NOT IN ('request_id_reused', 'gateway_signature_replayed') THEN
            json_build_object('hidden_reason', c.hidden_reason, 'key_name', c.key_name, 'project', c.project_code, 'model', c.model_name, 'tier', c.tier_id, 'suspended_reason', c.suspended_reason,
              'key_id', c.key_public, 'leads', CASE c.code WHEN 'key_suspended' THEN gateway_leads(c.team_id) END, 'decided_by', CASE c.code WHEN 'tier_not_granted' THEN gateway_deciders(c.tier_id) END) END,
          c.key_id, c.project_id, c.team_id, c.department_id, c.model_id)::gateway_refusal) FILTER (WHERE c.code IS NOT NULL)
      INTO calls, v_standings, v_missing, refused
      FROM standing c;
    EXIT WHEN v_missing IS NOT TRUE;
    PERFORM budgets_open_window(b.id, p_now)
      FROM (SELECT DISTINCT path.id FROM unnest(calls) c CROSS JOIN LATERAL unnest(c.budget_ids, c.window_starts) AS path (id, window_start) WHERE path.window_start IS NULL ORDER BY 1) b;
  END LOOP;
  IF v_standings IS NOT NULL THEN
    PERFORM gateway_remember(v_standings, p_now, v_seen, coalesce(v_seen_turn, 0));
  END IF;
END $$;

-- Decides a batch of calls, each on its own, and holds the worst case of those that may go on every budget of their paths: all in one transaction.
--
-- `p_calls` are validated JSON objects {gateway, nonce, source, request_id, request_hash, reservation, digests, model, mode, route, project, input, max_output, choices,
-- context, units}. What the batch asks for is taken from every rate and budget at once. When all of it was there, and no request had come before, nothing is left to decide; else
-- it is taken back, gateway_fit decides call by call under the locks, and what may go on is taken.
-- Locks in one order: windows that are made, rate limits, balances, then the new reservations. usage_settle locks reservations that exist, roll-ups, rate limits, balances: no cycle,
-- because nobody else can hold a reservation that is not committed yet. An UPDATE locks in the order of the rows that it is joined to, as long as it asks the table row by row: hence the
-- settings. `p_hold_seconds` says how long each call may hold money, by its place. `answer` is the body of an allowed call, or what a refusal needs to be told.
CREATE FUNCTION gateway_authorize(p_calls jsonb, p_hold_seconds float8[]) RETURNS TABLE (place int, code text, answer json) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz := clock_timestamp();
  v_used int[] := gateway_use_nonces(p_calls);
  v_calls gateway_call[];
  v_again gateway_call[];
  v_refused gateway_refusal[];
  v_is_fitted boolean := false;
  n int;
BEGIN
  -- Mostly every call has a standing; one that was asked before is found when it is booked. What the change of standings and the standings themselves say must be of one snapshot.
  IF v_used = '{}' THEN
    SELECT CASE WHEN bool_and(s.key_id IS NOT NULL) THEN
        array_agg(gateway_costed(c.place::int, c.source, c.request_id, c.request_hash, c.reservation, c.route, c.choices, c.input, c.max_output, '{}', '{}', '{}', s) ORDER BY c.place) END
      INTO v_calls
      FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (source text, request_id text, request_hash bytea, reservation text, digests bytea[], model text, mode text, route text, project text, input bigint,
          max_output bigint, choices int, context text)) WITH ORDINALITY
        AS c (source, request_id, request_hash, reservation, digests, model, mode, route, project, input, max_output, choices, context, place)
      LEFT JOIN gateway_standing s ON s.digest = c.digests[1] AND s.asked_model = c.model AND s.context = c.context AND s.mode = c.mode AND coalesce(c.project = s.project_code, true)
        AND coalesce(least(c.input, s.context_window_tokens) < s.below_input_tokens, true) AND s.known_at <= v_now AND s.valid_until > v_now AND s.server_started_at = pg_postmaster_start_time()
        AND (s.seen_before > coalesce((SELECT x.xid FROM gateway_standing_change x WHERE x.xid <> pg_current_xact_id()::text::bigint ORDER BY x.xid DESC LIMIT 1), 0)
          OR NOT EXISTS (SELECT FROM gateway_standing_change x WHERE x.xid >= s.seen_before AND x.xid <> pg_current_xact_id()::text::bigint
                         AND NOT pg_visible_in_snapshot(x.xid::text::xid8, s.seen::pg_snapshot)))
        AND s.seen_turn >= coalesce((SELECT x.turn FROM gateway_standing_change x WHERE x.xid = pg_current_xact_id()::text::bigint), 0);
  END IF;
  IF v_calls IS NULL THEN
    SELECT l.calls, l.refused INTO v_calls, v_refused FROM gateway_look_up(p_calls, v_used, v_now) l;
  END IF;

  WHILE v_calls IS NOT NULL LOOP
    BEGIN
      WITH counted AS (
        UPDATE budgets_ratelimit l SET in_flight = l.in_flight + started.calls,
            requests_tat = greatest(l.requests_tat, v_now) + make_interval(secs => started.calls * 60.0 / l.requests_per_minute),
            tokens_tat = greatest(l.tokens_tat, v_now) + make_interval(secs => started.tokens * 60.0 / l.tokens_per_minute)
          FROM (SELECT rate.id, count(*) AS calls, sum(c.held_tokens)::float AS tokens FROM unnest(v_calls) c CROSS JOIN LATERAL unnest(c.rate_ids) AS rate (id) GROUP BY 1 ORDER BY 1) started
          WHERE l.id = started.id
          RETURNING coalesce(greatest(l.requests_tat, l.tokens_tat) <= v_now + interval '60 seconds', true) AND coalesce(l.in_flight <= l.parallel_calls, true) AS fits
      ), reserved AS (
        UPDATE budgets_balance b SET reserved_usd = b.reserved_usd + held.usd
          FROM (SELECT path.id, path.window_start, sum(c.held_usd) AS usd, max(path.limit_usd) AS limit_usd
                FROM unnest(v_calls) c CROSS JOIN LATERAL unnest(c.budget_ids, c.window_starts, c.limits_usd) AS path (id, window_start, limit_usd) GROUP BY 1, 2 ORDER BY 1, 2) held
          WHERE b.budget_id = held.id AND b.window_start = held.window_start
          RETURNING coalesce(b.reserved_usd <= held.limit_usd - b.spent_usd, true) AS fits
      )
      INSERT INTO budgets_reservation (public_id, source, request_id, request_hash, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, context, route, input_bound_tokens,
          max_output_tokens, choices, units, held_tokens, rate_ids, held_usd, input_floor_usd, budget_ids, window_starts, warnings, state, authorized_at, expires_at)
        SELECT c.reservation, c.source, c.request_id, c.request_hash, c.key_id, c.owner_id, c.project_id, c.team_id, c.department_id, c.model_id, c.tier_id, c.context, c.route, c.input_bound,
          nullif(c.output, 0), c.choices, c.units, c.held_tokens, c.rate_ids, c.held_usd, least(c.held_usd, c.floor_usd), c.budget_ids, c.window_starts, c.warnings, 'open', v_now, v_now + make_interval(secs => p_hold_seconds[c.place])
        FROM unnest(v_calls) c WHERE v_is_fitted OR coalesce((SELECT bool_and(x.fits) FROM counted x), true) AND coalesce((SELECT bool_and(x.fits) FROM reserved x), true)  -- one after the other
        ORDER BY c.source, c.request_id, c.place ON CONFLICT (source, request_id) DO NOTHING;
      GET DIAGNOSTICS n = ROW_COUNT;
      EXIT WHEN n = cardinality(v_calls);
      RAISE EXCEPTION USING ERRCODE = 'PUR01';
    EXCEPTION WHEN SQLSTATE 'PUR01' THEN NULL;  -- as if nothing had been taken
    END;
    SELECT array_agg(f.call) FILTER (WHERE f.code IS NULL), v_again || array_agg(f.call) FILTER (WHERE f.code = 'again'),
        v_refused || array_agg(ROW((f.call).place, f.code, f.answer, (f.call).key_id, (f.call).project_id, (f.call).team_id, (f.call).department_id, (f.call).model_id)::gateway_refusal) FILTER (WHERE f.code <> 'again')
      INTO v_calls, v_again, v_refused FROM gateway_fit(v_calls, v_now) f;
    v_is_fitted := true;
  END LOOP;

  RETURN QUERY
    SELECT c.place, 'allow', gateway_allowed(c.reservation, v_now + make_interval(secs => p_hold_seconds[c.place]), c.held_usd, nullif(c.output, 0), c.tier_id, c.key_public, c.project_code, c.team_code, c.warnings) FROM unnest(v_calls) c;
  IF v_again IS NOT NULL THEN  -- the first answer is the answer
    RETURN QUERY
      SELECT c.place, CASE WHEN x.request_hash = c.request_hash THEN 'allow' ELSE 'request_id_reused' END, CASE WHEN x.request_hash = c.request_hash THEN gateway_repeated(x) END
      FROM unnest(v_again) c JOIN budgets_reservation x ON x.source = c.source AND x.request_id = c.request_id;
  END IF;

  -- What was refused to whom, so that people see it, also why a key is no longer good, which its caller is not told; and models that wait for a price.
  IF v_refused IS NOT NULL THEN
    RETURN QUERY SELECT r.place, r.code, r.answer FROM unnest(v_refused) r;
    INSERT INTO usage_blocked_hour AS b (hour, key_id, project_id, team_id, department_id, code, budget_id, rate_scope, rate_limit, calls, last_at)
      SELECT date_trunc('hour', v_now, 'UTC'), r.key_id, r.project_id, r.team_id, r.department_id, coalesce('key_' || (r.answer->>'hidden_reason'), r.code), refused.*, count(*), v_now FROM unnest(v_refused) r CROSS JOIN LATERAL gateway_refused_by(r.answer) refused
      WHERE r.key_id IS NOT NULL AND r.code NOT IN ('allow', 'request_id_reused', 'gateway_signature_replayed') GROUP BY 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 2, 3, 4, 5, 6, 7, 8, 9
      ON CONFLICT (hour, key_id, project_id, team_id, department_id, code, budget_id, rate_scope, rate_limit) DO UPDATE SET calls = b.calls + excluded.calls, last_at = excluded.last_at;
    INSERT INTO catalog_unpriced_call AS u (model_id, calls, first_at, last_at) SELECT r.model_id, count(*), v_now, v_now FROM unnest(v_refused) r WHERE r.code = 'model_unpriced' GROUP BY 1 ORDER BY 1
      ON CONFLICT (model_id) DO UPDATE SET calls = u.calls + excluded.calls, last_at = excluded.last_at;
  END IF;
END $$;
