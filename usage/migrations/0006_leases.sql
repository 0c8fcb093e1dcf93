-- Gives back what a lease holds beyond `p_keep`. The caller holds the lock of the lease.
CREATE FUNCTION usage_shrink_lease(l budgets_lease, p_keep numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_back numeric := greatest(l.held_usd - p_keep, 0);
BEGIN
  PERFORM 1 FROM unnest(l.budget_ids, l.window_starts) AS path (budget_id, window_start) JOIN budgets_balance b USING (budget_id, window_start)
    ORDER BY b.budget_id, b.window_start FOR NO KEY UPDATE OF b;
  UPDATE budgets_balance b SET reserved_usd = b.reserved_usd - v_back FROM unnest(l.budget_ids, l.window_starts) AS path (budget_id, window_start)
    WHERE b.budget_id = path.budget_id AND b.window_start = path.window_start;
  UPDATE budgets_lease SET held_usd = l.held_usd - v_back, closed_at = CASE WHEN p_keep = 0 THEN clock_timestamp() END WHERE id = l.id;
END $$;

-- Turns calls that a node decided under a lease into reservations, so that settling them is settling any call. The money moves from the lease to the call; of a
-- lease that holds less, or is closed, the call gets what there is, and its charge is booked in full all the same.
-- An item has `lease` and `call` {request_id, route, context, choices, input_bound, max_output, held_usd, authorized_at}.
CREATE FUNCTION usage_draw(p_items jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  q record;
  l budgets_lease;
  v_held numeric;
  v_at timestamptz;
BEGIN
  PERFORM 1 FROM budgets_lease x WHERE (x.source, x.public_id) IN (SELECT i.source, i.lease FROM jsonb_to_recordset(p_items) AS i (source text, lease text)) ORDER BY x.id FOR NO KEY UPDATE;
  FOR q IN
    SELECT i.reservation, i.source, i.lease, c.* FROM jsonb_to_recordset(p_items) AS i (reservation text, source text, lease text, call jsonb)
      CROSS JOIN LATERAL jsonb_to_record(i.call) AS c (request_id text, route text, context text, choices int, input_bound bigint, max_output bigint, held_usd numeric, authorized_at timestamptz)
    WHERE i.lease IS NOT NULL ORDER BY i.source, c.request_id
  LOOP
    SELECT * INTO l FROM budgets_lease x WHERE x.public_id = q.lease AND x.source = q.source;
    CONTINUE WHEN NOT FOUND;
    v_held := least(q.held_usd, l.held_usd);
    v_at := least(greatest(q.authorized_at, l.opened_at), l.expires_at);  -- the node's clock says when within the lease, no more
    INSERT INTO budgets_reservation (public_id, source, request_id, request_hash, key_id, owner_id, project_id, team_id, department_id, model_id, tier_id, context, route, input_bound_tokens,
        max_output_tokens, choices, held_usd, input_floor_usd, budget_ids, window_starts, warnings, lease_id, state, authorized_at, expires_at)
      SELECT q.reservation, q.source, q.request_id, sha256(q.reservation::bytea), l.key_id, l.owner_id, l.project_id, l.team_id, l.department_id, l.model_id, l.tier_id, q.context, q.route, q.input_bound,
        nullif(q.max_output, 0), q.choices, v_held, least(v_held, core_round_half_even(q.input_bound * card.input_usd, 12)), l.budget_ids, l.window_starts, '[]', l.id, 'open', v_at, l.reclaim_at
      FROM catalog_card(l.model_id, q.context, v_at, q.input_bound) card
      WHERE NOT EXISTS (SELECT FROM budgets_reservation r WHERE r.public_id = q.reservation)
      ON CONFLICT (source, request_id) DO NOTHING;
    IF FOUND THEN UPDATE budgets_lease SET held_usd = held_usd - v_held WHERE id = l.id; END IF;
  END LOOP;
END $$;

-- Gives back what one lease holds whose last call must have ended `p_grace` ago, and returns it; null when there is none. One a transaction: two would lock balances out of
-- order. Its node never gave that back, so calls may have used it that nobody told of; but not of a lease that its node has not heard of, whose end was brought forward.
CREATE FUNCTION usage_reclaim_lease(p_grace interval) RETURNS budgets_lease LANGUAGE plpgsql AS $$
DECLARE
  l budgets_lease;
BEGIN
  SELECT * INTO l FROM budgets_lease WHERE closed_at IS NULL AND reclaim_at + p_grace <= clock_timestamp() ORDER BY reclaim_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN NULL; END IF;
  PERFORM usage_shrink_lease(l, 0);
  UPDATE budgets_lease x SET unheard_usd = CASE WHEN l.reclaim_at - l.expires_at > interval '2 microseconds' THEN l.held_usd ELSE 0 END WHERE x.id = l.id RETURNING * INTO l;
  RETURN l;
END $$;
