SET LOCAL check_function_bodies = off;  -- usage_event has its context from 0042 on
-- The calls of a model in [p_from, p_until) that were known at `p_known`, each with what it is charged now, all corrections in it, and what it costs by the prices that
-- are dated to its moment, in the service class that it was priced in. Charges of calls that never settled, answers from a cache and calls without any price of their time stay as they are.
CREATE FUNCTION usage_reprice(p_model bigint, p_from timestamptz, p_until timestamptz, p_known timestamptz)
RETURNS TABLE (source text, external_id text, at timestamptz, team_id bigint, old_usd numeric, new_usd numeric, price_ids bigint[]) LANGUAGE sql STABLE AS $$
  WITH part AS (
    SELECT u.*, CASE WHEN u.calls = 0 THEN regexp_replace(u.external_id, ':[^:]*$', '') ELSE u.external_id END AS call
    FROM usage_event u WHERE u.model_id = p_model AND u.at >= p_from AND u.at < p_until AND u.calls IN (0, 1) AND u.external_id NOT LIKE '%:unsettled' AND (u.recorded_at <= p_known OR u.calls = 0)
  ), whole AS (
    SELECT p.source, p.call, p.at, max(p.team_id) AS team_id, max(p.reservation_id) AS reservation_id,
      (array_agg(p.context ORDER BY p.recorded_at DESC) FILTER (WHERE p.context IS NOT NULL))[1] AS context, sum(p.cost_usd) AS cost_usd, sum(p.input_tokens) AS input, sum(p.cached_tokens) AS cached,
      sum(p.cache_write_tokens) AS cache_write, sum(p.output_tokens) AS output, sum(p.reasoning_tokens) AS reasoning, array_agg(p.units) FILTER (WHERE p.units <> '{}') AS units,
      bool_or(p.cache_hit) AS cache_hit, max(p.finish) AS finish
    FROM part p GROUP BY p.source, p.call, p.at HAVING sum(p.calls) = 1
  ), placed AS MATERIALIZED (
    SELECT w.*, coalesce(w.context, r.context, 'standard') AS in_context, place.step, place.epoch
    FROM whole w LEFT JOIN budgets_reservation r ON r.id = w.reservation_id CROSS JOIN LATERAL catalog_place(p_model, w.at, w.input::bigint) place
    WHERE NOT w.cache_hit AND NOT (w.finish = 'cancelled' AND w.input = 0)
  ), card AS MATERIALIZED (
    SELECT k.in_context, k.step, k.epoch, c.*
    FROM (SELECT p.in_context, p.step, p.epoch, min(p.at) AS at, max(p.input)::bigint AS input FROM placed p GROUP BY 1, 2, 3) k CROSS JOIN LATERAL catalog_card(p_model, k.in_context, k.at, k.input) c
  )
  SELECT p.source, p.call, p.at, p.team_id, p.cost_usd, core_round_half_even((p.input - p.cached - p.cache_write) * c.input_usd + p.cached * c.cached_usd + p.cache_write * c.cache_write_usd
      + (p.output - p.reasoning) * c.output_usd + p.reasoning * c.reasoning_usd + c.request_usd
      + coalesce((SELECT sum(catalog_units_usd(each, c.unit_usd)) FROM unnest(p.units) each), 0), 12), c.price_ids
  FROM placed p JOIN card c ON c.in_context = p.in_context AND c.step IS NOT DISTINCT FROM p.step AND c.epoch IS NOT DISTINCT FROM p.epoch WHERE c.priced
$$;
