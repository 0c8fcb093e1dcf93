-- Makes the balance of the window that holds `p_at`, once, with what the windows before it pass on. A window without any call has no balance: it spent nothing, and
-- passes on what it was passed and its own limit, as if it had been opened. So the walk begins at the last window with a balance, or at the one in which the budget
-- was made. Calls in flight count as spent until they settle; budgets.services.rollover corrects the carry when they have, so a carry of nothing is written too.
CREATE OR REPLACE FUNCTION budgets_open_window(p_budget bigint, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  b budgets_budget;
  v_start timestamptz;
  v_end timestamptz;
  v_limit numeric;
  v_used numeric;
  v_carry numeric;
BEGIN
  SELECT * INTO STRICT b FROM budgets_budget WHERE id = p_budget;
  INSERT INTO budgets_balance (budget_id, window_start, window_end, spent_usd, reserved_usd)
    SELECT b.id, w.window_start, w.window_end, 0, 0 FROM budgets_window(b.window, b.window_anchor, b.time_zone, p_at) w
    ON CONFLICT DO NOTHING RETURNING window_start INTO v_start;
  IF v_start IS NULL OR b.roll_over = 'none' OR b.created_at >= v_start THEN RETURN; END IF;
  SELECT window_end, spent_usd + reserved_usd INTO v_end, v_used FROM budgets_balance
    WHERE budget_id = b.id AND window_start < v_start ORDER BY window_start DESC LIMIT 1;
  IF NOT FOUND THEN
    SELECT window_end, 0 INTO v_end, v_used FROM budgets_window(b.window, b.window_anchor, b.time_zone, b.created_at);
  END IF;
  LOOP
    v_limit := budgets_limit_at(b.id, v_end - interval '1 microsecond');
    v_carry := CASE b.roll_over WHEN 'unused' THEN -greatest(v_limit - v_used, 0) ELSE greatest(v_used - v_limit, 0) END;
    IF v_limit IS NULL THEN v_carry := 0; END IF;
    EXIT WHEN v_end >= v_start;
    v_used := v_carry;
    SELECT window_end INTO v_end FROM budgets_window(b.window, b.window_anchor, b.time_zone, v_end);
  END LOOP;
  INSERT INTO budgets_entry (public_id, kind, amount_usd, budget_ids, window_starts, price_ids, tokens, overrun_usd, reason, effective_at, recorded_at)
    VALUES ('ent_' || left(replace(gen_random_uuid()::text, '-', ''), 28), 'carry', v_carry, ARRAY[b.id], ARRAY[v_start], '{}', '{}', 0, '', v_start, clock_timestamp());
  UPDATE budgets_balance SET spent_usd = v_carry WHERE budget_id = b.id AND window_start = v_start;
END $$;
