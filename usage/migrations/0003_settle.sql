-- Writes one event and its day roll-up together. `p_calls` is -1 when it takes a charge back.
CREATE FUNCTION usage_write(r budgets_reservation, p_external_id text, p_model bigint, p_calls int, p_cost numeric, p_input bigint, p_cached bigint,
  p_cache_write bigint, p_output bigint, p_reasoning bigint, p_finish text, p_cache_hit boolean, p_estimated boolean, p_late boolean, p_provider_id text, p_zone text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_tier int := (SELECT tier_id FROM catalog_llmmodel WHERE id = p_model);
BEGIN
  INSERT INTO usage_event (source, external_id, at, recorded_at, reservation_id, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id,
      calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, finish, cache_hit, estimated, late, provider_call_id)
    VALUES (r.source, p_external_id, r.authorized_at, clock_timestamp(), r.id, r.key_id, r.owner_id, r.project_id, r.team_id, r.department_id, p_model, v_tier,
      p_calls, p_cost, p_input, p_cached, p_cache_write, p_output, p_reasoning, p_finish, p_cache_hit, p_estimated, p_late, p_provider_id);
  INSERT INTO usage_day AS d (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd,
      input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    VALUES ((r.authorized_at AT TIME ZONE p_zone)::date, r.key_id, r.owner_id, r.project_id, r.team_id, r.department_id, p_model, v_tier, p_calls, p_cost,
      p_input, p_cached, p_cache_write, p_output, p_reasoning)
    ON CONFLICT (day, key_id, model_id, project_id, team_id, department_id, owner_id, tier_id) DO UPDATE SET
      calls = d.calls + excluded.calls, cost_usd = d.cost_usd + excluded.cost_usd, input_tokens = d.input_tokens + excluded.input_tokens,
      cached_tokens = d.cached_tokens + excluded.cached_tokens, cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens,
      output_tokens = d.output_tokens + excluded.output_tokens, reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens;
END $$;

-- Writes one ledger entry on the reservation's path and moves its balances: `p_freed` leaves what is held, `p_amount` joins what is spent.
CREATE FUNCTION usage_post(r budgets_reservation, p_kind text, p_amount numeric, p_freed numeric, p_model bigint, p_prices bigint[], p_tokens jsonb,
  p_overrun numeric, p_reason text, p_corrects bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  v_entry bigint;
BEGIN
  INSERT INTO budgets_entry (public_id, kind, amount_usd, reservation_id, budget_ids, window_starts, key_id, project_id, team_id, department_id, model_id,
      price_ids, tokens, overrun_usd, reason, corrects_id, effective_at, recorded_at)
    VALUES ('ent_' || left(replace(gen_random_uuid()::text, '-', ''), 28), p_kind, p_amount, r.id, r.budget_ids, r.window_starts, r.key_id, r.project_id, r.team_id,
      r.department_id, p_model, p_prices, p_tokens, p_overrun, p_reason, p_corrects, r.authorized_at, clock_timestamp())
    RETURNING id INTO v_entry;
  UPDATE budgets_balance b SET spent_usd = b.spent_usd + p_amount, reserved_usd = b.reserved_usd - p_freed
    FROM unnest(r.budget_ids, r.window_starts) AS path (budget_id, window_start)
    WHERE b.budget_id = path.budget_id AND b.window_start = path.window_start;
  RETURN v_entry;
END $$;

-- Takes back the charge of a call that was thought lost, because the truth about it has arrived.
CREATE FUNCTION usage_take_back_unsettled(r budgets_reservation, p_zone text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  charge budgets_entry;
BEGIN
  SELECT * INTO STRICT charge FROM budgets_entry WHERE reservation_id = r.id AND kind = 'unsettled';
  PERFORM usage_post(r, 'correction', -charge.amount_usd, 0, r.model_id, charge.price_ids, '{}', 0, 'the call was settled after all', charge.id);
  PERFORM usage_write(r, r.public_id || ':reversal', r.model_id, -1, -charge.amount_usd, -r.input_bound_tokens, 0, 0, 0, 0, 'error', false, true, true, '', p_zone);
END $$;

-- What a call costs by its tokens, rounded once. A cancelled call costs at least its input.
CREATE FUNCTION usage_cost(r budgets_reservation, p_model bigint, p_input bigint, p_cached bigint, p_cache_write bigint, p_output bigint, p_reasoning bigint,
  p_finish text, p_cache_hit boolean, OUT cost_usd numeric, OUT price_ids bigint[]) LANGUAGE plpgsql STABLE AS $$
DECLARE
  rate record;
BEGIN
  SELECT * INTO rate FROM catalog_rates(p_model, r.context, r.authorized_at, p_input);
  price_ids := rate.price_ids;
  IF p_cache_hit THEN
    cost_usd := 0;
  ELSIF p_finish = 'cancelled' AND p_input = 0 THEN
    cost_usd := r.input_floor_usd;
  ELSE
    cost_usd := core_round_half_even((p_input - p_cached - p_cache_write) * rate.input_usd + p_cached * rate.cached_usd + p_cache_write * rate.cache_write_usd
      + (p_output - p_reasoning) * rate.output_usd + p_reasoning * rate.reasoning_usd + rate.request_usd, 12);
  END IF;
END $$;

-- Settles one call. The caller holds the locks of the reservation and of its balances.
CREATE FUNCTION usage_settle_one(p_source text, p_item jsonb, p_zone text, OUT status text, OUT charged_usd numeric, OUT held_usd numeric) LANGUAGE plpgsql AS $$
DECLARE
  r budgets_reservation;
  seen usage_event;
  v_model bigint;
  v_input bigint := p_item->>'input_tokens';
  v_cached bigint := p_item->>'cached_tokens';
  v_cache_write bigint := p_item->>'cache_write_tokens';
  v_output bigint := p_item->>'output_tokens';
  v_reasoning bigint := p_item->>'reasoning_tokens';
  v_finish text := p_item->>'finish';
  v_cache_hit boolean := p_item->>'cache_hit';
  v_late boolean;
  v_price bigint[];
BEGIN
  SELECT * INTO r FROM budgets_reservation WHERE public_id = p_item->>'reservation' AND source = p_source;
  IF NOT FOUND THEN status := 'unknown'; RETURN; END IF;
  held_usd := r.held_usd;
  v_model := coalesce(catalog_model_id(p_item->>'served_model'), r.model_id);
  IF r.state = 'settled' THEN
    SELECT * INTO seen FROM usage_event WHERE source = p_source AND external_id = r.public_id AND at = r.authorized_at;
    charged_usd := seen.cost_usd;
    status := CASE WHEN (seen.input_tokens, seen.cached_tokens, seen.cache_write_tokens, seen.output_tokens, seen.reasoning_tokens, seen.model_id, seen.cache_hit)
                   = (v_input, v_cached, v_cache_write, v_output, v_reasoning, v_model, v_cache_hit) THEN 'duplicate' ELSE 'conflict' END;
    IF status = 'conflict' THEN
      INSERT INTO usage_quarantine (source, external_id, reason, detail, row, row_hash, seen_at, resolution)
        VALUES (p_source, r.public_id, 'conflict', 'other figures than the settlement of ' || seen.recorded_at, p_item, encode(sha256(p_item::text::bytea), 'hex'), clock_timestamp(), '')
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN;
  END IF;
  v_late := r.state <> 'open' OR r.expires_at <= clock_timestamp();
  SELECT c.cost_usd, c.price_ids INTO charged_usd, v_price
    FROM usage_cost(r, v_model, v_input, v_cached, v_cache_write, v_output, v_reasoning, v_finish, v_cache_hit) c;
  IF r.state = 'unsettled' THEN PERFORM usage_take_back_unsettled(r, p_zone); END IF;
  PERFORM usage_post(r, CASE WHEN v_late THEN 'late' ELSE 'settle' END, charged_usd, CASE WHEN r.state = 'open' THEN r.held_usd ELSE 0 END, v_model, v_price,
    jsonb_build_object('input', v_input, 'cached', v_cached, 'cache_write', v_cache_write, 'output', v_output, 'reasoning', v_reasoning),
    greatest(charged_usd - r.held_usd, 0), '', NULL);
  PERFORM usage_write(r, r.public_id, v_model, 1, charged_usd, v_input, v_cached, v_cache_write, v_output, v_reasoning, v_finish, v_cache_hit,
    coalesce((p_item->>'estimated')::boolean, false), v_late, coalesce(p_item->>'provider_id', ''), p_zone);
  UPDATE budgets_reservation SET state = 'settled', resolved_at = clock_timestamp() WHERE id = r.id;
  status := CASE WHEN v_late THEN 'late' ELSE 'settled' END;
END $$;

-- Locks the reservations, then every balance on their paths, each in one order, so that no two batches can wait for each other.
CREATE FUNCTION usage_lock(p_reservations bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM budgets_reservation WHERE id = ANY (p_reservations) ORDER BY id FOR NO KEY UPDATE;
  PERFORM 1 FROM budgets_balance b
    WHERE (b.budget_id, b.window_start) IN (SELECT p.budget_id, p.window_start FROM budgets_reservation r, unnest(r.budget_ids, r.window_starts) AS p (budget_id, window_start)
                                            WHERE r.id = ANY (p_reservations))
    ORDER BY b.budget_id, b.window_start FOR NO KEY UPDATE;
END $$;

-- Settles a batch in one transaction. Items are validated JSON objects; the answers come in their order.
CREATE FUNCTION usage_settle(p_source text, p_items jsonb, p_zone text)
RETURNS TABLE (place int, status text, charged_usd numeric, held_usd numeric) LANGUAGE plpgsql AS $$
DECLARE
  item record;
BEGIN
  PERFORM usage_lock(ARRAY(SELECT id FROM budgets_reservation WHERE source = p_source
                           AND public_id IN (SELECT i->>'reservation' FROM jsonb_array_elements(p_items) i)));
  -- By key and model, so that roll-up rows too are always met in one order.
  FOR item IN SELECT e.value, e.ordinality::int AS place FROM jsonb_array_elements(p_items) WITH ORDINALITY e
              LEFT JOIN budgets_reservation r ON r.public_id = e.value->>'reservation' AND r.source = p_source
              ORDER BY r.authorized_at::date, r.key_id, coalesce(catalog_model_id(e.value->>'served_model'), r.model_id), e.ordinality LOOP
    RETURN QUERY SELECT item.place, one.status, one.charged_usd, one.held_usd FROM usage_settle_one(p_source, item.value, p_zone) one;
  END LOOP;
END $$;

-- Frees a hold of a call on which no work was done.
CREATE FUNCTION usage_release(p_source text, p_reservation text, p_zone text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r budgets_reservation;
BEGIN
  PERFORM usage_lock(ARRAY(SELECT id FROM budgets_reservation WHERE source = p_source AND public_id = p_reservation));
  SELECT * INTO r FROM budgets_reservation WHERE public_id = p_reservation AND source = p_source;
  IF NOT FOUND THEN RETURN 'unknown'; END IF;
  IF r.state = 'settled' THEN RETURN 'already_settled'; END IF;
  IF r.state = 'released' THEN RETURN 'duplicate'; END IF;
  IF r.state = 'unsettled' THEN
    PERFORM usage_take_back_unsettled(r, p_zone);
  ELSE
    UPDATE budgets_balance b SET reserved_usd = b.reserved_usd - r.held_usd
      FROM unnest(r.budget_ids, r.window_starts) AS path (budget_id, window_start)
      WHERE b.budget_id = path.budget_id AND b.window_start = path.window_start;
  END IF;
  UPDATE budgets_reservation SET state = 'released', resolved_at = clock_timestamp() WHERE id = r.id;
  RETURN 'released';
END $$;

-- Charges calls that were allowed and never settled, `p_grace` after their time: hold and charge change places in one step.
CREATE FUNCTION usage_expire(p_grace interval, p_most int, p_zone text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due bigint[];
  r budgets_reservation;
BEGIN
  due := ARRAY(SELECT id FROM budgets_reservation WHERE state = 'open' AND expires_at + p_grace <= clock_timestamp() ORDER BY id LIMIT p_most FOR NO KEY UPDATE SKIP LOCKED);
  PERFORM usage_lock(due);
  FOR r IN SELECT * FROM budgets_reservation WHERE id = ANY (due) ORDER BY authorized_at::date, key_id, model_id, id LOOP
    PERFORM usage_post(r, 'unsettled', r.input_floor_usd, r.held_usd, r.model_id, '{}', jsonb_build_object('input', r.input_bound_tokens), 0, '', NULL);
    PERFORM usage_write(r, r.public_id || ':unsettled', r.model_id, 1, r.input_floor_usd, r.input_bound_tokens, 0, 0, 0, 0, 'error', false, true, true, '', p_zone);
    UPDATE budgets_reservation SET state = 'unsettled', resolved_at = clock_timestamp() WHERE id = r.id;
  END LOOP;
  RETURN cardinality(due);
END $$;
