-- When a budget has room for `p_usd` by itself: at the first planned limit or top-up of its window that is high enough, else when the window ends.
CREATE FUNCTION gateway_opens_at(p_budget bigint, p_usd numeric, p_now timestamptz, p_window_end timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT least(min(l.valid_from), p_window_end) FROM budgets_budgetlimit l CROSS JOIN LATERAL gateway_limit(l.budget_id, l.valid_from) planned
  WHERE l.budget_id = p_budget AND l.valid_from > p_now AND coalesce(planned.limit_usd >= p_usd, true)
$$;
