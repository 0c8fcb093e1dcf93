-- Every posting to the books goes through usage_book: a settlement, the charge of a call that never settled, and what takes such a charge back.
CREATE TYPE usage_posting AS (
  reservation budgets_reservation,
  kind text,                -- of the entry; 'release' only frees the hold
  amount_usd numeric,       -- joins what is spent
  freed_usd numeric,        -- leaves what is held
  external_id text,
  model_id bigint,
  tier_id int,
  price_ids bigint[],
  calls int,                -- -1 takes a call back
  input_tokens bigint,
  cached_tokens bigint,
  cache_write_tokens bigint,
  output_tokens bigint,
  reasoning_tokens bigint,
  units jsonb,
  finish text,
  cache_hit boolean,
  estimated boolean,
  late boolean,
  provider_id text,
  overrun_usd numeric,
  reason text,
  corrects bigint
);

-- Writes entries, events and the day roll-up, and moves the balances: all of it for all postings at once. The caller holds the locks.
CREATE FUNCTION usage_book(p_postings usage_posting[], p_zone text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
BEGIN
  INSERT INTO budgets_entry (public_id, kind, amount_usd, reservation_id, budget_ids, window_starts, key_id, project_id, team_id, department_id, model_id,
      price_ids, tokens, overrun_usd, reason, corrects_id, effective_at, recorded_at)
    SELECT 'ent_' || left(replace(gen_random_uuid()::text, '-', ''), 28), p.kind, p.amount_usd, (p.reservation).id, (p.reservation).budget_ids, (p.reservation).window_starts,
      (p.reservation).key_id, (p.reservation).project_id, (p.reservation).team_id, (p.reservation).department_id, p.model_id, p.price_ids,
      p.units || jsonb_build_object('input', p.input_tokens, 'cached', p.cached_tokens, 'cache_write', p.cache_write_tokens, 'output', p.output_tokens, 'reasoning', p.reasoning_tokens),
      p.overrun_usd, p.reason, p.corrects, (p.reservation).authorized_at, v_now
    FROM unnest(p_postings) p WHERE p.kind <> 'release';
  INSERT INTO usage_event (source, external_id, at, recorded_at, reservation_id, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id,
      calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, units, finish, cache_hit, estimated, late, provider_call_id)
    SELECT (p.reservation).source, p.external_id, (p.reservation).authorized_at, v_now, (p.reservation).id, (p.reservation).key_id, (p.reservation).owner_id, (p.reservation).project_id,
      (p.reservation).team_id, (p.reservation).department_id, p.model_id, p.tier_id, p.calls, p.amount_usd, p.input_tokens, p.cached_tokens, p.cache_write_tokens, p.output_tokens,
      p.reasoning_tokens, p.units, p.finish, p.cache_hit, p.estimated, p.late, p.provider_id
    FROM unnest(p_postings) p WHERE p.kind <> 'release';
  INSERT INTO usage_day AS d (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd,
      input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT ((p.reservation).authorized_at AT TIME ZONE p_zone)::date, (p.reservation).key_id, (p.reservation).owner_id, (p.reservation).project_id, (p.reservation).team_id,
      (p.reservation).department_id, p.model_id, p.tier_id, sum(p.calls), sum(p.amount_usd), sum(p.input_tokens), sum(p.cached_tokens), sum(p.cache_write_tokens), sum(p.output_tokens),
      sum(p.reasoning_tokens)
    FROM unnest(p_postings) p WHERE p.kind <> 'release' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
    ON CONFLICT (day, key_id, model_id, project_id, team_id, department_id, owner_id, tier_id) DO UPDATE SET
      calls = d.calls + excluded.calls, cost_usd = d.cost_usd + excluded.cost_usd, input_tokens = d.input_tokens + excluded.input_tokens,
      cached_tokens = d.cached_tokens + excluded.cached_tokens, cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens,
      output_tokens = d.output_tokens + excluded.output_tokens, reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens;
  -- A fifth of the mean follows the newest calls: what "try again in" is answered with.
  UPDATE budgets_balance b SET spent_usd = b.spent_usd + moved.amount_usd, reserved_usd = b.reserved_usd - moved.freed_usd,
      mean_call_seconds = CASE WHEN moved.seconds IS NULL THEN b.mean_call_seconds WHEN b.mean_call_seconds = 0 THEN moved.seconds
                               ELSE 0.8 * b.mean_call_seconds + 0.2 * moved.seconds END
    FROM (SELECT path.budget_id, path.window_start, sum(p.amount_usd) AS amount_usd, sum(p.freed_usd) AS freed_usd,
            avg(extract(epoch FROM v_now - (p.reservation).authorized_at)) FILTER (WHERE p.kind = 'settle') AS seconds
          FROM unnest(p_postings) p CROSS JOIN LATERAL unnest((p.reservation).budget_ids, (p.reservation).window_starts) AS path (budget_id, window_start)
          GROUP BY 1, 2) moved
    WHERE b.budget_id = moved.budget_id AND b.window_start = moved.window_start;
END $$;

-- Locks reservations, then the rate limits and every balance on their paths, each in one order, so that no two batches can wait for each other.
CREATE FUNCTION usage_lock(p_reservations bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_locked budgets_reservation[];
BEGIN
  SELECT array_agg(r) INTO v_locked FROM (SELECT x.* FROM budgets_reservation x WHERE x.id = ANY (p_reservations) ORDER BY x.id FOR NO KEY UPDATE) r;
  PERFORM 1 FROM (SELECT DISTINCT rate.id FROM unnest(v_locked) r CROSS JOIN LATERAL unnest(r.rate_ids) AS rate (id)) rate
    JOIN budgets_ratelimit l ON l.id = rate.id ORDER BY l.id FOR NO KEY UPDATE OF l;
  PERFORM 1 FROM (SELECT DISTINCT path.budget_id, path.window_start FROM unnest(v_locked) r CROSS JOIN LATERAL unnest(r.budget_ids, r.window_starts) AS path (budget_id, window_start)) path
    JOIN budgets_balance b ON b.budget_id = path.budget_id AND b.window_start = path.window_start ORDER BY b.budget_id, b.window_start FOR NO KEY UPDATE OF b;
END $$;

-- Ends reservations: their state, and what they count on rate limits. `p_rates` are the rate limits of the calls that were open, one for each call and limit, and
-- `p_unused` the tokens that those calls held and did not use, which flow back.
CREATE FUNCTION usage_resolve(p_reservations bigint[], p_states text[], p_rates bigint[], p_unused bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_rates <> '{}' THEN
    UPDATE budgets_ratelimit l SET in_flight = l.in_flight - ended.calls, tokens_tat = l.tokens_tat - make_interval(secs => ended.unused * 60.0 / l.tokens_per_minute)
      FROM (SELECT id, count(*) AS calls, sum(unused)::float AS unused FROM unnest(p_rates, p_unused) AS u (id, unused) GROUP BY 1) ended
      WHERE l.id = ended.id;
  END IF;
  UPDATE budgets_reservation r SET state = u.state, resolved_at = clock_timestamp() FROM unnest(p_reservations, p_states) AS u (id, state) WHERE r.id = u.id;
END $$;

-- Settles and releases calls in one transaction. `p_items` are validated JSON objects {source, reservation, ...}; those with `release` consumed nothing.
-- Answers: settled, late, duplicate, conflict, released, already_settled, unknown.
CREATE FUNCTION usage_settle(p_items jsonb, p_zone text) RETURNS TABLE (place int, status text, charged_usd numeric, held_usd numeric) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  q record;
  r budgets_reservation;
  card record;
  v_card int := 0;
  v_cost numeric;
  v_late boolean;
  v_prices bigint[];
  v_charge budgets_entry;
  v_postings usage_posting[] := '{}';
  v_ids bigint[] := '{}';
  v_states text[] := '{}';
  v_rates bigint[] := '{}';
  v_unused bigint[] := '{}';
  v_again int[] := '{}';
BEGIN
  IF p_items @? '$[*].lease' THEN PERFORM usage_draw(p_items); END IF;
  -- A reservation is looked up by its public id alone: an index that begins with the source would be read through.
  PERFORM usage_lock(ARRAY(SELECT x.id FROM jsonb_to_recordset(p_items) AS i (source text, reservation text)
    CROSS JOIN LATERAL (SELECT r.id, r.source FROM budgets_reservation r WHERE r.public_id = i.reservation OFFSET 0) x WHERE x.source = i.source));
  FOR q IN
    SELECT i.*, x::budgets_reservation AS reservation_row, coalesce(m.id, x.model_id) AS served_id, coalesce(m.tier_id, x.tier_id) AS served_tier,
      row_number() OVER (PARTITION BY x.id ORDER BY i.place) AS turn, count(*) FILTER (WHERE i.release IS NOT TRUE) OVER (PARTITION BY x.id ORDER BY i.place) AS settlements,
      dense_rank() OVER (ORDER BY coalesce(m.id, x.model_id), x.context, c.step, c.epoch) AS card_number
    FROM ROWS FROM (jsonb_to_recordset(p_items) AS (source text, reservation text, release boolean, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint,
        output_tokens bigint, reasoning_tokens bigint, units jsonb, served_model text, finish text, cache_hit boolean, estimated boolean, provider_id text)) WITH ORDINALITY
      AS i (source, reservation, release, input, cached, cache_write, output, reasoning, units, served_model, finish, cache_hit, estimated, provider_id, place)
    LEFT JOIN LATERAL (SELECT r.* FROM budgets_reservation r WHERE r.public_id = i.reservation OFFSET 0) x ON x.source = i.source
    LEFT JOIN catalog_llmmodel m  -- a model that was retired since then was served all the same
      ON m.id = coalesce((SELECT l.id FROM catalog_llmmodel l WHERE l.name = i.served_model), (SELECT l.model_id FROM catalog_alias l WHERE l.name = i.served_model))
    LEFT JOIN LATERAL catalog_place(coalesce(m.id, x.model_id), x.authorized_at, coalesce(i.input, 0)) c ON x.id IS NOT NULL
    ORDER BY card_number, i.place
  LOOP
    r := q.reservation_row;
    place := q.place;
    held_usd := r.held_usd;
    charged_usd := NULL;
    IF r.id IS NULL THEN status := 'unknown'; RETURN NEXT; CONTINUE; END IF;
    IF r.state = 'settled' THEN
      SELECT a.status, a.charged_usd INTO status, charged_usd FROM usage_settled_before(r, p_items->(q.place::int - 1), q.served_id) a;
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF q.release AND r.state = 'released' AND q.settlements = 0 THEN
      status := 'duplicate';
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF q.turn > 1 THEN  -- the same call twice in one batch: looked at again when the first is booked
      v_again := v_again || q.place::int;
      CONTINUE;
    END IF;

    IF r.state = 'unsettled' THEN  -- charged because nothing was heard of it: the truth takes the charge back
      SELECT * INTO STRICT v_charge FROM budgets_entry e WHERE e.reservation_id = r.id AND e.kind = 'unsettled';
      v_postings := v_postings || ROW(r, 'correction', -v_charge.amount_usd, 0, r.public_id || ':reversal', r.model_id, r.tier_id, v_charge.price_ids, -1, -r.input_bound_tokens, 0, 0, 0, 0,
        '{}', 'error', false, true, true, '', 0, 'the call was settled after all', v_charge.id)::usage_posting;
    END IF;
    v_ids := v_ids || r.id;
    IF q.release THEN
      v_postings := v_postings || ROW(r, 'release', 0, CASE WHEN r.state = 'open' THEN r.held_usd ELSE 0 END, NULL, NULL, NULL, '{}', 0, 0, 0, 0, 0, 0, '{}', NULL, NULL, NULL, NULL, NULL,
        0, '', NULL)::usage_posting;
      v_states := v_states || 'released'::text;
      IF r.state = 'open' AND r.rate_ids <> '{}' THEN v_rates := v_rates || r.rate_ids; v_unused := v_unused || array_fill(r.held_tokens, ARRAY[cardinality(r.rate_ids)]); END IF;
      status := 'released';
      RETURN NEXT;
      CONTINUE;
    END IF;

    IF q.card_number <> v_card THEN
      SELECT * INTO card FROM catalog_card(q.served_id, r.context, r.authorized_at, q.input);
      v_card := q.card_number;
    END IF;
    v_prices := card.price_ids;
    IF q.cache_hit THEN
      v_cost := 0;
    ELSIF q.finish = 'cancelled' AND q.input = 0 THEN  -- a client that left before anything was counted has caused at least its input
      v_cost := r.input_floor_usd;
    ELSE
      v_cost := core_round_half_even((q.input - q.cached - q.cache_write) * card.input_usd + q.cached * card.cached_usd + q.cache_write * card.cache_write_usd
        + (q.output - q.reasoning) * card.output_usd + q.reasoning * card.reasoning_usd + card.request_usd
        + CASE WHEN q.units IS NULL OR q.units = '{}' THEN 0 ELSE catalog_units_usd(q.units, card.unit_usd) END, 12);
    END IF;
    v_late := r.state <> 'open' OR r.expires_at <= clock_timestamp();
    v_postings := v_postings || ROW(r, CASE WHEN v_late THEN 'late' ELSE 'settle' END, v_cost, CASE WHEN r.state = 'open' THEN r.held_usd ELSE 0 END, r.public_id, q.served_id, q.served_tier,
      v_prices, 1, q.input, q.cached, q.cache_write, q.output, q.reasoning, coalesce(q.units, '{}'), q.finish, q.cache_hit, coalesce(q.estimated, false), v_late, coalesce(q.provider_id, ''),
      greatest(v_cost - r.held_usd, 0), '', NULL)::usage_posting;
    v_states := v_states || 'settled'::text;
    IF r.state = 'open' AND r.rate_ids <> '{}' THEN
      v_rates := v_rates || r.rate_ids;
      v_unused := v_unused || array_fill(r.held_tokens - q.input - q.output, ARRAY[cardinality(r.rate_ids)]);
    END IF;
    status := CASE WHEN v_late THEN 'late' ELSE 'settled' END;
    charged_usd := v_cost;
    RETURN NEXT;
  END LOOP;

  IF v_ids <> '{}' THEN
    PERFORM usage_book(v_postings, p_zone);
    PERFORM usage_resolve(v_ids, v_states, v_rates, v_unused);
  END IF;
  IF v_again <> '{}' THEN
    v_again := ARRAY(SELECT n FROM unnest(v_again) n ORDER BY n);
    RETURN QUERY SELECT v_again[a.place], a.status, a.charged_usd, a.held_usd FROM usage_settle((SELECT jsonb_agg(p_items->(n - 1) ORDER BY n) FROM unnest(v_again) n), p_zone) a;
  END IF;
END $$;

-- Answers for a call that was settled before: the same figures change nothing, others are kept once for a person to look at, wherever they stood in a batch (`call`).
CREATE FUNCTION usage_settled_before(r budgets_reservation, p_item jsonb, p_served bigint, OUT status text, OUT charged_usd numeric) LANGUAGE plpgsql AS $$
DECLARE
  seen usage_event;
BEGIN
  IF (p_item->>'release')::boolean THEN status := 'already_settled'; RETURN; END IF;
  SELECT * INTO seen FROM usage_event WHERE source = r.source AND external_id = r.public_id AND at = r.authorized_at;
  charged_usd := seen.cost_usd;
  status := CASE WHEN (seen.input_tokens, seen.cached_tokens, seen.cache_write_tokens, seen.output_tokens, seen.reasoning_tokens, seen.model_id, seen.cache_hit, seen.units)
                 = ((p_item->>'input_tokens')::bigint, (p_item->>'cached_tokens')::bigint, (p_item->>'cache_write_tokens')::bigint, (p_item->>'output_tokens')::bigint,
                    (p_item->>'reasoning_tokens')::bigint, p_served, (p_item->>'cache_hit')::boolean, coalesce(p_item->'units', '{}')) THEN 'duplicate' ELSE 'conflict' END;
  IF status = 'conflict' THEN
    INSERT INTO usage_quarantine (source, external_id, reason, detail, row, row_hash, seen_at, resolution)
      VALUES (r.source, r.public_id, 'conflict', 'other figures than the settlement of ' || seen.recorded_at, p_item - 'signature', encode(sha256((p_item - 'signature')::text::bytea), 'hex'), clock_timestamp(), '')
      ON CONFLICT DO NOTHING;
  END IF;
END $$;

-- Charges calls that were allowed and never settled, `p_grace` after their time: hold and charge change places in one step.
CREATE FUNCTION usage_expire(p_grace interval, p_most int, p_zone text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due bigint[];
BEGIN
  due := ARRAY(SELECT id FROM budgets_reservation WHERE state = 'open' AND expires_at + p_grace <= clock_timestamp() ORDER BY id LIMIT p_most FOR NO KEY UPDATE SKIP LOCKED);
  IF due = '{}' THEN RETURN 0; END IF;
  PERFORM usage_lock(due);
  PERFORM usage_book(array_agg(ROW(r, 'unsettled', r.input_floor_usd, r.held_usd, r.public_id || ':unsettled', r.model_id, r.tier_id, '{}', 1, r.input_bound_tokens, 0, 0, 0, 0, '{}', 'error',
      false, true, true, '', 0, '', NULL)::usage_posting), p_zone)
    FROM budgets_reservation r WHERE r.id = ANY (due);
  PERFORM usage_resolve(due, array_fill('unsettled'::text, ARRAY[cardinality(due)]), coalesce(array_agg(rate), '{}'), coalesce(array_agg(r.held_tokens - r.input_bound_tokens), '{}'))
    FROM budgets_reservation r CROSS JOIN LATERAL unnest(r.rate_ids) rate WHERE r.id = ANY (due);
  RETURN cardinality(due);
END $$;
