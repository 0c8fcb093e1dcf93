-- The earliest instant at which clocks in `p_zone` show `p_local`; where they skip it, the instant of the skip.
CREATE FUNCTION budgets_instant(p_local timestamp, p_zone text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  found timestamptz := p_local AT TIME ZONE p_zone;
BEGIN
  IF (found - interval '1 hour') AT TIME ZONE p_zone = p_local THEN
    RETURN found - interval '1 hour';
  END IF;
  RETURN found;
END $$;

-- The half-open window [window_start, window_end) that holds `p_at`. The pure twin is budgets/windows.py.
CREATE FUNCTION budgets_window(p_window text, p_anchor int, p_zone text, p_at timestamptz, OUT window_start timestamptz, OUT window_end timestamptz)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  today timestamp := date_trunc('day', p_at AT TIME ZONE p_zone);
  first timestamp;
  span interval;
BEGIN
  CASE p_window
    WHEN 'day' THEN first := today; span := '1 day';
    WHEN 'week' THEN first := today - make_interval(days => (extract(isodow FROM today)::int - p_anchor + 7) % 7); span := '7 days';
    WHEN 'month' THEN first := date_trunc('month', today); span := '1 month';
    WHEN 'quarter' THEN first := date_trunc('quarter', today); span := '3 months';
    WHEN 'fiscal_year' THEN
      first := date_trunc('month', today) - make_interval(months => (extract(month FROM today)::int - p_anchor + 12) % 12); span := '1 year';
    WHEN 'lifetime' THEN window_start := '2000-01-01T00:00:00Z'; window_end := '9000-01-01T00:00:00Z'; RETURN;
  END CASE;
  window_start := budgets_instant(first, p_zone);
  window_end := budgets_instant(first + span, p_zone);
END $$;

-- The limit of a budget at a moment: the newest base row plus the top-ups in force; null is no limit.
CREATE FUNCTION budgets_limit_at(p_budget bigint, p_at timestamptz) RETURNS numeric LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT (SELECT amount_usd FROM budgets_budgetlimit WHERE budget_id = p_budget AND kind = 'base' AND valid_from <= p_at
          ORDER BY valid_from DESC, id DESC LIMIT 1)
       + coalesce((SELECT sum(amount_usd) FROM budgets_budgetlimit WHERE budget_id = p_budget AND kind = 'top_up'
                   AND valid_from <= p_at AND valid_until > p_at), 0)
$$;

CREATE TRIGGER entry_is_append_only BEFORE UPDATE OR DELETE ON budgets_entry FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER entry_is_not_truncated BEFORE TRUNCATE ON budgets_entry FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
CREATE TRIGGER limit_is_append_only BEFORE UPDATE OR DELETE ON budgets_budgetlimit FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER limit_is_not_truncated BEFORE TRUNCATE ON budgets_budgetlimit FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

-- Where a scope stands now: its project, team and department, as far as it has them; all null when it does not exist.
CREATE FUNCTION budgets_scope_of(p_kind text, p_id bigint, OUT project_id bigint, OUT team_id bigint, OUT department_id bigint) LANGUAGE plpgsql STABLE AS $$
BEGIN
  CASE p_kind
    WHEN 'key' THEN SELECT p.id, t.id, t.department_id INTO project_id, team_id, department_id
      FROM keys_apikey k JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id WHERE k.id = p_id;
    WHEN 'project' THEN SELECT p.id, t.id, t.department_id INTO project_id, team_id, department_id
      FROM teams_project p JOIN teams_team t ON t.id = p.team_id WHERE p.id = p_id;
    WHEN 'team' THEN SELECT t.id, t.department_id INTO team_id, department_id FROM teams_team t WHERE t.id = p_id;
    WHEN 'department' THEN SELECT d.id INTO department_id FROM teams_department d WHERE d.id = p_id;
    WHEN 'organisation' THEN NULL;
  END CASE;
END $$;

-- Hot rows: room on the page for HOT updates, early vacuum.
ALTER TABLE budgets_balance SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE budgets_reservation SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX budget_by_scope ON budgets_budget (scope_kind, scope_id) WHERE closed_at IS NULL;
ALTER TABLE budgets_reservation ADD CONSTRAINT reservation_path_is_whole CHECK (cardinality(budget_ids) = cardinality(window_starts));
ALTER TABLE budgets_entry ADD CONSTRAINT entry_path_is_whole CHECK (cardinality(budget_ids) = cardinality(window_starts));
ALTER TABLE budgets_reservation ADD CONSTRAINT reservation_hash_is_whole CHECK (octet_length(request_hash) = 32);
