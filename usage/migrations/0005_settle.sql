-- What a settlement answers.
CREATE TYPE usage_answer AS (place int, status text, charged_usd numeric, held_usd numeric, served_id bigint);

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
  corrects bigint,
  state text,               -- how the reservation ends; null leaves it as it is
  unused_tokens bigint,     -- of what was held, flows back to its rates; null where the call was not in flight
  context text              -- the service class that was served, where it is not the one that was asked for
);

-- Writes entries, events and both roll-ups, moves the balances, ends the reservations with what they count on rate limits, and counts what keys spend by the minute, by which it
-- suspends those that run away: all of it for all postings at once. The caller holds the locks of the reservations. Whatever books locks roll-ups by
-- minute, hour and day, then rate limits and balances, as gateway_authorize does and under the same settings, so that no two can wait for each other; and balances last, because holds wait for
-- them. `usage_hour` is by UTC hour.
CREATE FUNCTION usage_book(p_postings usage_posting[], p_zone text) RETURNS void LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_name text := 'ent_' || lpad(to_hex((extract(epoch FROM v_now) * 1000)::bigint), 12, '0') || right(gen_random_uuid()::text, 12);  -- in the order of time, as core.ids has it
  v_written bigint;
  v_locked bigint;
  v_keys bigint[];
BEGIN
  IF to_regclass('usage_call' || to_char(v_now AT TIME ZONE 'UTC', '_YYYY_MM')) IS NULL THEN  -- the job that makes months ahead has not run for three of them
    PERFORM usage_make_partitions((v_now AT TIME ZONE 'UTC' - interval '2 days')::date, (v_now AT TIME ZONE 'UTC')::date);
  END IF;

  WITH posting AS MATERIALIZED (
    SELECT p.*, (p.reservation).id, (p.reservation).source, (p.reservation).key_id, (p.reservation).owner_id, (p.reservation).project_id, (p.reservation).team_id, (p.reservation).department_id,
      (p.reservation).budget_ids, (p.reservation).window_starts, (p.reservation).authorized_at
    FROM unnest(p_postings) WITH ORDINALITY p
  ), booked AS MATERIALIZED (
    SELECT p.*, coalesce((SELECT s.id FROM usage_source s WHERE s.name = p.source), usage_source_of(p.source)) AS source_id,
      coalesce((SELECT a.id FROM usage_attribution a WHERE a.key_id = p.key_id AND a.model_id = p.model_id AND a.owner_id = p.owner_id AND a.project_id = p.project_id AND a.team_id = p.team_id
                  AND a.department_id = p.department_id AND a.tier_id = p.tier_id LIMIT 1),
               usage_attribution_of(p.key_id, p.owner_id, p.project_id, p.team_id, p.department_id, p.model_id, p.tier_id)) AS attribution_id
    FROM posting p WHERE p.kind <> 'release'
  ), entry AS (
    INSERT INTO budgets_entry (public_id, kind, amount_usd, reservation_id, budget_ids, window_starts, key_id, project_id, team_id, department_id, model_id,
        price_ids, tokens, overrun_usd, reason, corrects_id, effective_at, recorded_at)
      SELECT v_name || lpad(to_hex(p.ordinality), 4, '0'), p.kind, p.amount_usd, p.id, p.budget_ids, p.window_starts, p.key_id, p.project_id, p.team_id, p.department_id, p.model_id,
        p.price_ids, p.units || jsonb_build_object('input', p.input_tokens, 'cached', p.cached_tokens, 'cache_write', p.cache_write_tokens, 'output', p.output_tokens, 'reasoning', p.reasoning_tokens),
        p.overrun_usd, p.reason, p.corrects, p.authorized_at, v_now
      FROM booked p RETURNING 1
  ), event AS (
    INSERT INTO usage_call (at, recorded_at, reservation_id, packed, attribution_id, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, source_id, calls,
        cache_hit, estimated, late, cost_usd, shape, finish, units, provider_call_id, context)
      SELECT p.authorized_at, v_now, p.id, usage_packed(p.source_id, p.external_id), p.attribution_id, p.input_tokens, p.output_tokens, nullif(p.cached_tokens, 0), nullif(p.cache_write_tokens, 0),
        nullif(p.reasoning_tokens, 0), p.source_id, p.calls, p.cache_hit, p.estimated, p.late, p.amount_usd, usage_shape(usage_packed(p.source_id, p.external_id), p.external_id),
        nullif(p.finish, 'stop'), nullif(p.units, '{}'), nullif(p.provider_id, ''), p.context
      FROM booked p RETURNING 1
  ), daily AS (
    INSERT INTO usage_day AS d (day, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd,
        input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
      SELECT (p.authorized_at AT TIME ZONE p_zone)::date, p.key_id, p.owner_id, p.project_id, p.team_id, p.department_id, p.model_id, p.tier_id, sum(p.calls), sum(p.amount_usd),
        sum(p.input_tokens), sum(p.cached_tokens), sum(p.cache_write_tokens), sum(p.output_tokens), sum(p.reasoning_tokens)
      FROM booked p GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
      ON CONFLICT (day, key_id, model_id, project_id, team_id, department_id, owner_id, tier_id) DO UPDATE SET
        calls = d.calls + excluded.calls, cost_usd = d.cost_usd + excluded.cost_usd, input_tokens = d.input_tokens + excluded.input_tokens,
        cached_tokens = d.cached_tokens + excluded.cached_tokens, cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens,
        output_tokens = d.output_tokens + excluded.output_tokens, reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens
      RETURNING 1
  ), hourly AS (
    INSERT INTO usage_hour AS h (hour, project_id, model_id, team_id, department_id, tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
      SELECT date_trunc('hour', p.authorized_at, 'UTC'), p.project_id, p.model_id, p.team_id, p.department_id, p.tier_id, sum(p.calls), sum(p.amount_usd),
        sum(p.input_tokens), sum(p.cached_tokens), sum(p.cache_write_tokens), sum(p.output_tokens), sum(p.reasoning_tokens)
      FROM booked p GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
      ON CONFLICT (hour, project_id, model_id, team_id, department_id, tier_id) DO UPDATE SET
        calls = h.calls + excluded.calls, cost_usd = h.cost_usd + excluded.cost_usd, input_tokens = h.input_tokens + excluded.input_tokens,
        cached_tokens = h.cached_tokens + excluded.cached_tokens, cache_write_tokens = h.cache_write_tokens + excluded.cache_write_tokens,
        output_tokens = h.output_tokens + excluded.output_tokens, reasoning_tokens = h.reasoning_tokens + excluded.reasoning_tokens
      RETURNING 1
  ), ended AS (
    UPDATE budgets_reservation r SET state = p.state, resolved_at = v_now FROM posting p WHERE p.state IS NOT NULL AND r.id = p.id
  ), minutely AS (
    INSERT INTO usage_key_minute AS m (key_id, minute, cost_usd)
      SELECT p.key_id, date_trunc('minute', p.authorized_at), sum(p.amount_usd) FROM booked p WHERE p.authorized_at > v_now - interval '6 hours' GROUP BY 1, 2 ORDER BY 1, 2
      ON CONFLICT (key_id, minute) DO UPDATE SET cost_usd = m.cost_usd + excluded.cost_usd
      RETURNING m.key_id, m.xmax = 0 AS is_first
  )
  SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM event), (SELECT array_agg(m.key_id) FILTER (WHERE m.is_first) FROM minutely m),
    (SELECT count(*) FROM hourly) + (SELECT count(*) FROM daily)
    INTO v_written, v_keys, v_locked;  -- one after the other

  WITH posting AS MATERIALIZED (
    SELECT p.kind, p.amount_usd, p.freed_usd, p.unused_tokens, (p.reservation).budget_ids, (p.reservation).window_starts, (p.reservation).rate_ids, (p.reservation).authorized_at FROM unnest(p_postings) p
  ), left_rates AS (
    UPDATE budgets_ratelimit l SET in_flight = l.in_flight - ended.calls, tokens_tat = l.tokens_tat - make_interval(secs => ended.unused * 60.0 / l.tokens_per_minute)
      FROM (SELECT rate.id, count(*) AS calls, sum(p.unused_tokens)::float AS unused FROM posting p CROSS JOIN LATERAL unnest(p.rate_ids) AS rate (id) WHERE p.unused_tokens IS NOT NULL
            GROUP BY 1 ORDER BY 1) ended
      WHERE l.id = ended.id RETURNING 1
  ), moved AS (
    -- A fifth of the mean follows the newest calls: what "try again in" is answered with.
    UPDATE budgets_balance b SET spent_usd = b.spent_usd + moved.amount_usd, reserved_usd = b.reserved_usd - moved.freed_usd,
        mean_call_seconds = CASE WHEN moved.seconds IS NULL THEN b.mean_call_seconds WHEN b.mean_call_seconds = 0 THEN moved.seconds
                                 ELSE 0.8 * b.mean_call_seconds + 0.2 * moved.seconds END
      FROM (SELECT path.budget_id, path.window_start, sum(p.amount_usd) AS amount_usd, sum(p.freed_usd) AS freed_usd,
              avg(extract(epoch FROM v_now - p.authorized_at)) FILTER (WHERE p.kind = 'settle') AS seconds
            FROM posting p CROSS JOIN LATERAL unnest(p.budget_ids, p.window_starts) AS path (budget_id, window_start) GROUP BY 1, 2 ORDER BY 1, 2) moved
      WHERE b.budget_id = moved.budget_id AND b.window_start = moved.window_start RETURNING 1
  )
  SELECT (SELECT count(*) FROM left_rates) + (SELECT count(*) FROM moved) INTO v_locked;  -- one after the other
  IF v_keys IS NOT NULL THEN PERFORM usage_stop_runaways(v_keys, v_now); END IF;  -- once a minute for each key that spends
END $$;

-- Settles and releases calls in one transaction. `p_items` are validated JSON objects {source, reservation, ...}; those with `release` consumed nothing.
-- A call is priced in the service class that it was served in, and in the one that it was authorised in where nobody tells; its hold was that of the latter.
-- Answers: settled, late, duplicate, conflict, released, already_settled, unknown.
CREATE FUNCTION usage_settle(p_items jsonb, p_zone text) RETURNS TABLE (place int, status text, charged_usd numeric, held_usd numeric) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
  v_postings usage_posting[];
  v_answers usage_answer[];
  v_before boolean;
  v_again int[];
BEGIN
  IF p_items @? '$[*].lease' THEN PERFORM usage_draw(p_items); END IF;
  -- A reservation is looked up by its public id alone: an index that begins with the source would be read through.
  PERFORM FROM budgets_reservation x
    WHERE x.id = ANY (ARRAY(SELECT x.id FROM jsonb_to_recordset(p_items) AS i (source text, reservation text)
      CROSS JOIN LATERAL (SELECT r.id, r.source FROM budgets_reservation r WHERE r.public_id = i.reservation OFFSET 0) x WHERE x.source = i.source))
    ORDER BY x.id FOR NO KEY UPDATE;
  v_now := clock_timestamp();
  WITH item AS MATERIALIZED (
    SELECT i.*, x.*, coalesce(m.id, x.model_id) AS served_id, coalesce(m.tier_id, x.tier_id) AS served_tier, coalesce(i.served_context, x.context) AS in_context, c.step, c.epoch,
      row_number() OVER of_one_call AS turn, count(*) FILTER (WHERE i.release IS NOT TRUE) OVER of_one_call AS settlements
    FROM ROWS FROM (jsonb_to_recordset(p_items) AS (source text, reservation text, release boolean, input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint,
        output_tokens bigint, reasoning_tokens bigint, units jsonb, served_model text, finish text, cache_hit boolean, estimated boolean, provider_id text, served_context text)) WITH ORDINALITY
      AS i (told_by, reservation, release, input, cached, cache_write, output, reasoning, units, served_model, finish, cache_hit, estimated, provider_id, served_context, place)
    LEFT JOIN LATERAL (SELECT r, r.id, r.source, r.state, r.context, r.model_id, r.tier_id, r.authorized_at, r.expires_at, r.held_usd, r.held_tokens, r.input_floor_usd
        FROM budgets_reservation r WHERE r.public_id = i.reservation OFFSET 0) x ON x.source = i.told_by
    LEFT JOIN catalog_llmmodel m  -- a model that was retired since then was served all the same
      ON m.id = coalesce((SELECT l.id FROM catalog_llmmodel l WHERE l.name = i.served_model), (SELECT l.model_id FROM catalog_alias l WHERE l.name = i.served_model))
    LEFT JOIN LATERAL catalog_place(coalesce(m.id, x.model_id), x.authorized_at, coalesce(i.input, 0)) c ON x.id IS NOT NULL
    WINDOW of_one_call AS (PARTITION BY x.id ORDER BY i.place)
  ), judged AS MATERIALIZED (  -- the same call twice in one batch is looked at again when the first is booked
    SELECT i.*, CASE WHEN i.id IS NULL THEN 'unknown' WHEN i.state = 'settled' THEN 'settled before' WHEN i.release AND i.state = 'released' AND i.settlements = 0 THEN 'duplicate'
        WHEN i.turn > 1 THEN 'again' WHEN i.release THEN 'released' WHEN i.state <> 'open' OR i.expires_at <= v_now THEN 'late' ELSE 'settled' END AS status
    FROM item i
  ), card AS MATERIALIZED (
    SELECT k.*, c.* FROM (SELECT j.served_id, j.in_context, j.step, j.epoch, max(j.authorized_at) AS at, max(j.input) AS input FROM judged j WHERE j.status IN ('settled', 'late') GROUP BY 1, 2, 3, 4) k
    CROSS JOIN LATERAL catalog_card(k.served_id, k.in_context, k.at, k.input) c
  ), charged AS (
    SELECT j.*, card.price_ids, CASE
        WHEN j.status NOT IN ('settled', 'late') THEN NULL
        WHEN j.cache_hit THEN 0
        WHEN j.finish = 'cancelled' AND j.input = 0   -- a client that left before its input was counted has caused at least that, and what it was sent
          THEN j.input_floor_usd + core_round_half_even((j.output - j.reasoning) * card.output_usd + j.reasoning * card.reasoning_usd, 12)
        ELSE core_round_half_even((j.input - j.cached - j.cache_write) * card.input_usd + j.cached * card.cached_usd + j.cache_write * card.cache_write_usd
          + (j.output - j.reasoning) * card.output_usd + j.reasoning * card.reasoning_usd + card.request_usd
          + CASE WHEN j.units IS NULL OR j.units = '{}' THEN 0 ELSE catalog_units_usd(j.units, card.unit_usd) END, 12) END AS cost_usd
    FROM judged j LEFT JOIN card ON card.served_id = j.served_id AND card.in_context = j.in_context AND card.step IS NOT DISTINCT FROM j.step AND card.epoch IS NOT DISTINCT FROM j.epoch
  )
  SELECT array_agg(CASE WHEN c.status = 'released' THEN
        ROW(c.r, 'release', 0, CASE WHEN c.state = 'open' THEN c.held_usd ELSE 0 END, NULL, NULL, NULL, '{}', 0, 0, 0, 0, 0, 0, '{}', NULL, NULL, NULL, NULL, NULL, 0, '', NULL, 'released',
          CASE WHEN c.state = 'open' THEN c.held_tokens END, NULL)::usage_posting
      ELSE
        ROW(c.r, CASE c.status WHEN 'late' THEN 'late' ELSE 'settle' END, c.cost_usd, CASE WHEN c.state = 'open' THEN c.held_usd ELSE 0 END, c.reservation, c.served_id, c.served_tier, c.price_ids, 1,
          c.input, c.cached, c.cache_write, c.output, c.reasoning, coalesce(c.units, '{}'), c.finish, c.cache_hit, coalesce(c.estimated, false), c.status = 'late', coalesce(c.provider_id, ''),
          greatest(c.cost_usd - c.held_usd, 0), '', NULL, 'settled', CASE WHEN c.state = 'open' THEN c.held_tokens - c.input - c.output END,
          nullif(c.served_context, c.context))::usage_posting
      END ORDER BY c.place) FILTER (WHERE c.status IN ('settled', 'late', 'released')),
      array_agg(ROW(c.place, c.status, c.cost_usd, c.held_usd, c.served_id)::usage_answer ORDER BY c.place) FILTER (WHERE c.status <> 'again'), bool_or(c.status = 'settled before'),
      array_agg(c.place::int ORDER BY c.place) FILTER (WHERE c.status = 'again')
    INTO v_postings, v_answers, v_before, v_again FROM charged c;

  RETURN QUERY SELECT a.place, a.status, a.charged_usd, a.held_usd FROM unnest(v_answers) a WHERE a.status <> 'settled before';
  IF v_before THEN
    RETURN QUERY SELECT a.place, b.status, b.charged_usd, a.held_usd FROM (SELECT x.* FROM unnest(v_answers) x WHERE x.status = 'settled before' OFFSET 0) a
      CROSS JOIN LATERAL usage_settled_before(p_items->(a.place - 1), a.served_id) b;
  END IF;
  IF v_postings IS NOT NULL THEN
    IF EXISTS (SELECT FROM unnest(v_postings) p WHERE (p.reservation).state = 'unsettled') THEN  -- charged because nothing was heard of it: the truth takes the charge back
      SELECT array_agg(ROW(p.reservation, 'correction', -e.amount_usd, 0, (p.reservation).public_id || ':reversal', (p.reservation).model_id, (p.reservation).tier_id, e.price_ids, -1,
          -(p.reservation).input_bound_tokens, 0, 0, 0, 0, '{}', 'error', false, true, true, '', 0, 'the call was settled after all', e.id, NULL, NULL, NULL)::usage_posting) || v_postings INTO v_postings
        FROM unnest(v_postings) p LEFT JOIN budgets_entry e ON e.reservation_id = (p.reservation).id AND e.kind = 'unsettled' WHERE (p.reservation).state = 'unsettled';
    END IF;
    PERFORM usage_book(v_postings, p_zone);
    IF EXISTS (SELECT FROM unnest(v_answers) a WHERE a.status = 'late') THEN PERFORM usage_carry_booked(v_postings, p_zone); END IF;
  END IF;
  IF v_again IS NOT NULL THEN
    RETURN QUERY SELECT v_again[a.place], a.status, a.charged_usd, a.held_usd FROM usage_settle((SELECT jsonb_agg(p_items->(n - 1) ORDER BY n) FROM unnest(v_again) n), p_zone) a;
  END IF;
END $$;

-- Answers for a call that was settled before: the same figures change nothing, others are kept once for a person to look at, wherever they stood in a batch (`call`). Another service
-- class is another figure; one that is not told is none.
CREATE FUNCTION usage_settled_before(p_item jsonb, p_served bigint, OUT status text, OUT charged_usd numeric) LANGUAGE plpgsql AS $$
DECLARE
  r budgets_reservation;
  seen usage_event;
BEGIN
  IF (p_item->>'release')::boolean THEN status := 'already_settled'; RETURN; END IF;
  SELECT * INTO r FROM budgets_reservation x WHERE x.public_id = p_item->>'reservation';
  SELECT * INTO seen FROM usage_event WHERE call_key = usage_key_of(r.source, r.public_id) AND at = r.authorized_at;
  IF seen.at IS NULL THEN  -- its month was retired: what was told then is not known any more, what it cost is
    SELECT 'duplicate', e.amount_usd INTO status, charged_usd FROM budgets_entry e WHERE e.reservation_id = r.id AND e.kind IN ('settle', 'late');
    RETURN;
  END IF;
  charged_usd := seen.cost_usd;
  status := CASE WHEN (seen.input_tokens, seen.cached_tokens, seen.cache_write_tokens, seen.output_tokens, seen.reasoning_tokens, seen.model_id, seen.cache_hit, seen.units)
                 = ((p_item->>'input_tokens')::bigint, (p_item->>'cached_tokens')::bigint, (p_item->>'cache_write_tokens')::bigint, (p_item->>'output_tokens')::bigint,
                    (p_item->>'reasoning_tokens')::bigint, p_served, (p_item->>'cache_hit')::boolean, coalesce(p_item->'units', '{}'))
                 AND coalesce(p_item->>'served_context', seen.context, r.context) = coalesce(seen.context, r.context) THEN 'duplicate' ELSE 'conflict' END;
  IF status = 'conflict' THEN
    INSERT INTO usage_quarantine (source, external_id, reason, detail, row, row_hash, seen_at, resolution)
      VALUES (r.source, r.public_id, 'conflict', 'other figures than the settlement of ' || seen.recorded_at, p_item - 'signature', encode(sha256((p_item - 'signature')::text::bytea), 'hex'), clock_timestamp(), '')
      ON CONFLICT DO NOTHING;
  END IF;
END $$;

-- Carries what was just booked in months that are closed to the open one: what came late, what it takes back, and what nobody told of.
CREATE FUNCTION usage_carry_booked(p_postings usage_posting[], p_zone text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM usage_carry(to_jsonb(p.reservation) || to_jsonb(p) - 'reservation' || jsonb_build_object('at', (p.reservation).authorized_at, 'external_id', NULL), p.external_id, p_zone)
    FROM unnest(p_postings) p WHERE p.kind IN ('late', 'correction', 'unsettled') AND usage_closed_month((p.reservation).authorized_at, p_zone) IS NOT NULL;
END $$;

-- Charges calls that were allowed and never settled, `p_grace` after their time: hold and charge change places in one step.
CREATE FUNCTION usage_expire(p_grace interval, p_most int, p_zone text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due bigint[];
  v_postings usage_posting[];
BEGIN
  due := ARRAY(SELECT id FROM budgets_reservation WHERE state = 'open' AND expires_at + p_grace <= clock_timestamp() ORDER BY id LIMIT p_most FOR NO KEY UPDATE SKIP LOCKED);
  IF due = '{}' THEN RETURN 0; END IF;
  SELECT array_agg(ROW(r, 'unsettled', r.input_floor_usd, r.held_usd, r.public_id || ':unsettled', r.model_id, r.tier_id, '{}', 1, r.input_bound_tokens, 0, 0, 0, 0, '{}', 'error',
      false, true, true, '', greatest(r.input_floor_usd - r.held_usd, 0), '', NULL, 'unsettled', r.held_tokens - r.input_bound_tokens, NULL)::usage_posting)
    INTO v_postings FROM budgets_reservation r WHERE r.id = ANY (due);
  PERFORM usage_book(v_postings, p_zone);
  PERFORM usage_carry_booked(v_postings, p_zone);
  RETURN cardinality(due);
END $$;
