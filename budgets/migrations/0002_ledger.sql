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
