-- What refused a call, as its answer tells it: the budget, or the rate and whose it is.
CREATE FUNCTION gateway_refused_by(p_answer json) RETURNS TABLE (budget_id bigint, rate_scope text, rate_limit text) LANGUAGE sql STABLE AS $$
  SELECT (SELECT b.id FROM budgets_budget b WHERE b.public_id = p_answer->'budget'->>'id'), coalesce(p_answer->>'scope', ''), coalesce(p_answer->>'limit', '')
$$;
