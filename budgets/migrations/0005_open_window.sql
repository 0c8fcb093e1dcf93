-- The open budgets that bind a call of this key and model: its own, and those of every scope above it. As one query, so that the planner takes it into the statement.
CREATE FUNCTION budgets_path(p_key bigint, p_project bigint, p_team bigint, p_department bigint, p_tier int, p_model bigint) RETURNS SETOF budgets_budget LANGUAGE sql STABLE AS $$
  SELECT b.* FROM (VALUES ('key', p_key), ('project', p_project), ('team', p_team), ('department', p_department), ('organisation', 0)) AS scope (kind, id)
  JOIN budgets_budget b ON b.scope_kind = scope.kind AND b.scope_id = scope.id AND b.closed_at IS NULL
    AND (b.only_tier_id IS NULL OR b.only_tier_id = p_tier) AND (b.only_model_id IS NULL OR b.only_model_id = p_model)
$$;

-- Makes the balance of the window that holds `p_at`, once, with what the window before it passes on. Calls in flight count as spent until they settle;
-- budgets.services.rollover corrects the carry when they have, so a carry of nothing is written too. A window without any call has no balance: it spent nothing.
CREATE FUNCTION budgets_open_window(p_budget bigint, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  b budgets_budget;
  v_start timestamptz;
  v_limit numeric;
  v_used numeric;
  v_carry numeric;
BEGIN
  SELECT * INTO STRICT b FROM budgets_budget WHERE id = p_budget;
  INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, reserved_usd)
    SELECT b.id, w.window_start, w.window_end, 0, 0 FROM budgets_window(b.window, b.window_anchor, b.time_zone, p_at) w
    ON CONFLICT DO NOTHING RETURNING window_start INTO v_start;
  IF v_start IS NULL OR b.roll_over = 'none' OR b.created_at >= v_start THEN RETURN; END IF;
  v_limit := budgets_limit_at(b.id, v_start - interval '1 microsecond');
  v_used := coalesce((SELECT spent_usd + reserved_usd FROM budgets_balance WHERE budget_id = b.id AND window_end = v_start), 0);
  v_carry := CASE b.roll_over WHEN 'unused' THEN -greatest(v_limit - v_used, 0) ELSE greatest(v_used - v_limit, 0) END;
  IF v_limit IS NULL THEN v_carry := 0; END IF;
  INSERT INTO budgets_entry (public_id, kind, amount_usd, budget_ids, window_starts, price_ids, tokens, overrun_usd, reason, effective_at, recorded_at)
    VALUES ('ent_' || left(replace(gen_random_uuid()::text, '-', ''), 28), 'carry', v_carry, ARRAY[b.id], ARRAY[v_start], '{}', '{}', 0, '', v_start, clock_timestamp());
  UPDATE budgets_balance SET spent_usd = v_carry WHERE budget_id = b.id AND window_start = v_start;
END $$;
