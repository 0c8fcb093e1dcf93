-- The leases of a node that must stop now: their key or grant has ended, a limit or a rate was set since they were opened, a budget joined or left their path, or a hard
-- one of it has given out more than it has: it became hard, or calls cost more than they held.
CREATE OR REPLACE FUNCTION gateway_recalled(p_source text, p_node text) RETURNS SETOF text LANGUAGE sql AS $$
  WITH stopped AS (
    UPDATE budgets_lease l SET recalled_at = coalesce(l.recalled_at, clock_timestamp())
    WHERE l.source = p_source AND l.node = p_node AND l.closed_at IS NULL AND (
      NOT EXISTS (SELECT FROM keys_apikey k JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id JOIN teams_user u ON u.id = k.owner_id
                  WHERE k.id = l.key_id AND k.revoked_at IS NULL AND k.suspended_at IS NULL AND k.expires_at > clock_timestamp() AND u.is_active AND p.archived_at IS NULL
                    AND p.id = l.project_id AND t.id = l.team_id AND t.department_id = l.department_id)
      OR EXISTS (SELECT FROM keys_apikey k WHERE k.id = l.key_id AND k.previous_until BETWEEN l.opened_at AND clock_timestamp())
      OR NOT EXISTS (SELECT FROM catalog_llmmodel m WHERE m.id = l.model_id AND m.retired_at IS NULL AND m.tier_id = l.tier_id)
      OR l.tier_id > 1 AND NOT EXISTS (SELECT FROM keys_grant g WHERE g.key_id = l.key_id AND g.tier_id = l.tier_id AND g.revoked_at IS NULL AND g.starts_at <= clock_timestamp()
                  AND g.expires_at > clock_timestamp() AND (g.model_ids = '{}' OR l.model_id = ANY (g.model_ids)))
      OR EXISTS (SELECT FROM budgets_budgetlimit b WHERE b.budget_id = ANY (l.budget_ids) AND (b.valid_from BETWEEN l.opened_at AND clock_timestamp() OR b.valid_until BETWEEN l.opened_at AND clock_timestamp()))
      OR EXISTS (SELECT FROM unnest(l.budget_ids, l.window_starts) AS path (budget_id, window_start) JOIN budgets_balance o USING (budget_id, window_start) JOIN budgets_budget b ON b.id = o.budget_id
                 CROSS JOIN LATERAL gateway_limit(b.id, clock_timestamp()) x WHERE b.mode = 'hard' AND x.limit_usd < o.spent_usd + o.reserved_usd)
      OR EXISTS (SELECT FROM catalog_price p WHERE p.model_id = l.model_id AND (p.valid_from BETWEEN l.opened_at AND clock_timestamp() OR p.valid_until BETWEEN l.opened_at AND clock_timestamp()))
      OR EXISTS (SELECT FROM budgets_ratelimit r WHERE (r.scope_kind, r.scope_id) IN (('key', l.key_id), ('project', l.project_id), ('team', l.team_id)))
      OR l.budget_ids IS DISTINCT FROM (SELECT coalesce(array_agg(p.id ORDER BY p.id), '{}')
                  FROM gateway_path(l.key_id, l.project_id, l.team_id, l.department_id, l.tier_id, l.model_id, clock_timestamp()) p))
    RETURNING l.public_id
  )
  SELECT public_id FROM stopped
$$;
