-- Since when, in the window that began at `p_window_start`, the limit of a budget is what it is at `p_at`. A limit that is set again as it was does not begin anew.
CREATE FUNCTION budgets_limit_since(p_budget bigint, p_window_start timestamptz, p_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(max(e.edge), p_window_start)
  FROM budgets_budgetlimit r CROSS JOIN LATERAL (VALUES (r.valid_from), (r.valid_until)) AS e (edge)
  WHERE r.budget_id = p_budget AND e.edge > p_window_start AND e.edge <= p_at
    AND budgets_limit_at(p_budget, e.edge) IS DISTINCT FROM budgets_limit_at(p_budget, e.edge - interval '1 microsecond')
$$;

CREATE TRIGGER alert_is_append_only BEFORE UPDATE OR DELETE ON budgets_budgetalert FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER alert_is_not_truncated BEFORE TRUNCATE ON budgets_budgetalert FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
