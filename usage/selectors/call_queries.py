"""What is asked of both sides of a day of calls: the ledger as it is stored, and a gateway's own record."""

# ruff: noqa: S608 - every part of a query is a constant of this code

# Rows of the ledger that are a call, and those that put one right ("<the call>:<why>").
A_CALL = "calls = 1 AND NOT (estimated AND external_id LIKE '%%:unsettled')"
PUTS_RIGHT = "calls <> 1 AND external_id NOT LIKE '%%:reversal' AND external_id NOT LIKE 'volume:%%'"
# A call that nobody decided was told by the gateway itself, in a push or a log: its row is both sides.
TOLD = "late AND reservation_id IS NULL"
# One number for many calls, whatever their order: for their ids with tokens and, where the gateway tells
# costs, with costs; and for the ids alone. Reasoning counts where a price of its own makes a difference: many
# logs do not tell it apart.
IDS = "bit_xor(hashtextextended(external_id, 0)) AS ids"
CALL = """hashtextextended(external_id,
      input_tokens * 1000003 + output_tokens * 1009 + cached_tokens * 31 + cache_write_tokens
      + reasoning_tokens * %(apart)s)"""
PRICED_CALL = f"hash_numeric_extended(cost_usd, {CALL})"
NO_COST = "cost_usd = 0 AND NOT cache_hit AND input_tokens + output_tokens > 0"
# Calls of the ledger as they are stored: usage_event would look up whose each is.
LEDGER = """(SELECT %(source)s::text AS source, at, recorded_at, reservation_id, context, calls, cost_usd,
    cache_hit, estimated, late, attribution_id, usage_name(packed, shape) AS external_id,
    coalesce(provider_call_id, '') AS provider_call_id, units,
    input_tokens::bigint AS input_tokens, output_tokens::bigint AS output_tokens,
    coalesce(reasoning_tokens, 0)::bigint AS reasoning_tokens,
    coalesce(cached_tokens, 0)::bigint AS cached_tokens,
    coalesce(cache_write_tokens, 0)::bigint AS cache_write_tokens
  FROM usage_call WHERE source_id = %(source_id)s)"""
COUNTED = {LEDGER: A_CALL, "usage_gateway_call": "NOT released"}

ABOUT_SQL = """
SELECT (SELECT id FROM usage_source WHERE name = %(source)s),
  ARRAY(SELECT a.id FROM usage_attribution a JOIN catalog_llmmodel m ON m.id = a.model_id
        WHERE m.declared_free),
  EXISTS (SELECT FROM usage_gateway_call WHERE source = %(source)s AND at >= %(start)s AND at < %(end)s
    AND NOT released AND cost_usd IS NOT NULL),
  CASE WHEN EXISTS (SELECT FROM catalog_price WHERE unit = 'reasoning') THEN 13 ELSE 0 END
"""
# A list of its own ("apart") keeps the planner from looking into a query. So it takes the hours for few, and
# each core sums its own share of the rows; and a call is named once for both of its numbers.
APART = "WITH apart AS (SELECT) SELECT date_bin('1 hour', at, %(start)s) AS hour, *"
HOURS_SQL = f"""
WITH portal AS MATERIALIZED (
  SELECT hour, sum(calls) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd, {IDS}, bit_xor({{call}}) AS mark,
    count(*) FILTER (WHERE calls = 1 AND provider_call_id <> '') AS answers,
    count(*) FILTER (WHERE calls <> 1 OR {NO_COST} AND attribution_id <> ALL (%(free)s)) AS odd
  FROM ({APART} FROM {LEDGER} AS ledger
        WHERE at >= %(nearby)s AND at < %(end)s AND ({A_CALL} OR {PUTS_RIGHT})) counted GROUP BY hour
), gateway AS MATERIALIZED (
  SELECT hour, count(*) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    {IDS}, bit_xor({{call}}) AS mark, count(*) FILTER (WHERE {NO_COST}) AS odd
  FROM ({APART} FROM usage_gateway_call
        WHERE source = %(source)s AND at >= %(start)s AND at < %(end)s AND NOT released) counted GROUP BY hour
)
SELECT hour, coalesce(p.calls, 0), coalesce(p.input_tokens, 0), coalesce(p.output_tokens, 0),
  coalesce(p.cost_usd, 0), coalesce(g.calls, 0), coalesce(g.input_tokens, 0), coalesce(g.output_tokens, 0),
  NOT %(alone)s AND (p.calls, p.mark) IS DISTINCT FROM (g.calls, g.mark) OR p.odd > 0 OR g.odd > 0,
  p.ids IS DISTINCT FROM g.ids, p.mark, coalesce(p.answers, 0)
FROM portal p FULL JOIN gateway g USING (hour) ORDER BY hour
"""

# Ids of a day are nearly all different: sorted in shares, they take half of the time that hashing takes. How
# many there are is asked first, for which no group needs a count.
SORTED = "SELECT set_config('enable_hashagg', %s, true)"
ANSWERS_SQL = f"""
SELECT count(*) FROM (
  SELECT DISTINCT hashtextextended(provider_call_id, 0) FROM {LEDGER} AS ledger
  WHERE at >= %(nearby)s AND at < %(end)s AND provider_call_id <> '' AND {A_CALL}
) AS answers
"""
TWICE_SQL = """
SELECT array_agg(DISTINCT c.provider_call_id) FROM (
  SELECT hashtextextended(provider_call_id, 0) AS mark FROM {table} AS t
  WHERE source = %(source)s AND at >= %(first)s AND at < %(last)s AND provider_call_id <> '' AND {counted}
  GROUP BY 1 HAVING count(*) > 1
) twice JOIN {table} AS c ON hashtextextended(c.provider_call_id, 0) = twice.mark
  AND c.source = %(source)s AND c.at >= %(first)s AND c.at < %(last)s AND {counted}
"""
# What is looked at call by call: the hours that differ, and answers that came twice wherever they are.
LOOKED_AT = "source = %(source)s AND at >= %(first)s AND at < %(last)s AND ({spans})"
TWIN = "provider_call_id = ANY (%(twice)s)"
TURN = """CASE WHEN coalesce(nullif(p.provider_call_id, ''), g.provider_call_id) = ANY (%(twice)s) THEN
      row_number() OVER (PARTITION BY coalesce(nullif(p.provider_call_id, ''), g.provider_call_id)
                         ORDER BY p.at IS NULL, coalesce(p.at, g.at), external_id) ELSE 1 END"""

# What the gateway told in pushes alone, in the hours that differ: its own record has no row of it.
PUSHED_SQL = f"""
SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0)
FROM {LEDGER} AS e WHERE {LOOKED_AT} AND calls = 1 AND {TOLD} AND NOT EXISTS (SELECT FROM usage_gateway_call g
  WHERE g.source = e.source AND g.external_id = e.external_id AND g.at = e.at)
"""

# What a call costs by its card, in the service class it was priced in; what the gateway's figures cost, at
# the step of their own input. Units are told by one side alone.
WORTH_OURS = """core_round_half_even((input_tokens - cached_tokens - cache_write_tokens) * c.input_usd
        + cached_tokens * c.cached_usd + cache_write_tokens * c.cache_write_usd
        + (output_tokens - reasoning_tokens) * c.output_usd + reasoning_tokens * c.reasoning_usd
        + c.request_usd + catalog_units_usd(units, c.unit_usd), 12)"""
WORTH_THEIRS = """core_round_half_even((g_input - g_cached - g_cache_write) * g.input_usd
        + g_cached * g.cached_usd + g_cache_write * g.cache_write_usd
        + (g_output - g_reasoning) * g.output_usd + g_reasoning * g.reasoning_usd
        + g.request_usd + catalog_units_usd(units, g.unit_usd), 12)"""

# The calls that differ, one row each: which, how, its figures on either side, and what the ledger lacks.
CALLS_SQL = f"""
WITH booked AS MATERIALIZED (
  SELECT external_id, at, recorded_at, attribution_id, reservation_id, context, units, cache_hit,
    provider_call_id, calls, input_tokens, cached_tokens, cache_write_tokens, output_tokens,
    reasoning_tokens, cost_usd, %(alone)s OR {TOLD} AS told
  FROM {LEDGER} AS ledger WHERE {LOOKED_AT} AND ({A_CALL} OR {PUTS_RIGHT})
), put_right AS (
  SELECT regexp_replace(external_id, ':[^:]*$', '') AS external_id, sum(calls) AS calls,
    sum(input_tokens)::bigint AS input_tokens, sum(cached_tokens)::bigint AS cached_tokens,
    sum(cache_write_tokens)::bigint AS cache_write_tokens, sum(output_tokens)::bigint AS output_tokens,
    sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(cost_usd) AS cost_usd,
    (array_agg(context ORDER BY recorded_at DESC) FILTER (WHERE context IS NOT NULL))[1] AS context
  FROM booked WHERE calls <> 1 GROUP BY 1
), portal AS (
  SELECT e.external_id, e.at, e.recorded_at, e.attribution_id, e.reservation_id,
    coalesce(r.context, e.context) AS context, e.units, e.cache_hit, e.provider_call_id, e.told,
    e.input_tokens + coalesce(r.input_tokens, 0) AS input_tokens,
    e.cached_tokens + coalesce(r.cached_tokens, 0) AS cached_tokens,
    e.cache_write_tokens + coalesce(r.cache_write_tokens, 0) AS cache_write_tokens,
    e.output_tokens + coalesce(r.output_tokens, 0) AS output_tokens,
    e.reasoning_tokens + coalesce(r.reasoning_tokens, 0) AS reasoning_tokens,
    e.cost_usd + coalesce(r.cost_usd, 0) AS cost_usd
  FROM booked e LEFT JOIN put_right r USING (external_id) WHERE e.calls = 1 AND coalesce(r.calls, 0) >= 0
), gateway AS (
  SELECT external_id, at, model_name, cache_hit, provider_call_id, input_tokens, cached_tokens,
    cache_write_tokens, output_tokens, reasoning_tokens, cost_usd
  FROM usage_gateway_call WHERE {LOOKED_AT} AND NOT released
), both_sides AS (
  SELECT external_id, coalesce(p.at, g.at) AS at, p.recorded_at, p.at IS NOT NULL AS at_portal,
    g.at IS NOT NULL AS at_gateway, p.told, a.model_id, coalesce(m.name, g.model_name) AS model_name,
    coalesce(p.cache_hit, g.cache_hit) OR coalesce(m.declared_free, false) AS may_be_free,
    p.input_tokens, p.cached_tokens, p.cache_write_tokens, p.output_tokens, p.reasoning_tokens, p.cost_usd,
    g.input_tokens AS g_input, g.cached_tokens AS g_cached, g.cache_write_tokens AS g_cache_write,
    g.output_tokens AS g_output, g.cost_usd AS g_cost,
    CASE WHEN p.at IS NOT NULL AND g.reasoning_tokens = 0 THEN least(p.reasoning_tokens, g.output_tokens)
      ELSE g.reasoning_tokens END AS g_reasoning, p.reservation_id, p.context, p.units,
    {{turn}} AS turn
  FROM portal p FULL JOIN gateway g USING (external_id)
    LEFT JOIN usage_attribution a ON a.id = p.attribution_id LEFT JOIN catalog_llmmodel m ON m.id = a.model_id
), judged AS (
  SELECT b.*, CASE
      WHEN turn > 1 THEN 'duplicate'
      WHEN NOT at_portal THEN CASE WHEN at < %(settled_before)s THEN 'missing_at_portal' END
      WHEN NOT at_gateway AND told THEN CASE WHEN NOT may_be_free AND cost_usd = 0
        AND input_tokens + output_tokens > 0 THEN 'zero_cost' END
      WHEN NOT at_gateway THEN CASE WHEN recorded_at < %(reported_before)s THEN 'missing_at_gateway' END
      WHEN (input_tokens, cached_tokens, cache_write_tokens, output_tokens)
           <> (g_input, g_cached, g_cache_write, g_output) THEN 'token_mismatch'
      WHEN NOT may_be_free AND input_tokens + output_tokens > 0 AND (cost_usd = 0 OR g_cost = 0)
        THEN 'zero_cost'
      WHEN abs(g_cost - cost_usd) > greatest(0.00001, 0.001 * cost_usd) THEN 'price_mismatch'
      WHEN NOT may_be_free AND reasoning_tokens <> g_reasoning THEN 'token_mismatch' END AS kind
  FROM both_sides b WHERE at >= %(start)s
), priced AS (
  SELECT j.*, CASE kind
      WHEN 'missing_at_portal' THEN coalesce(g_cost, 0)
      WHEN 'missing_at_gateway' THEN cost_usd
      WHEN 'duplicate' THEN -coalesce(cost_usd, 0)
      WHEN 'price_mismatch' THEN g_cost - cost_usd
      WHEN 'zero_cost' THEN CASE WHEN cost_usd = 0 THEN worth.ours ELSE 0 END
      WHEN 'token_mismatch' THEN worth.theirs - worth.ours END AS amount_usd,
    kind <> 'token_mismatch' OR worth.distance > greatest(0.00001, 0.001 * cost_usd)
      OR NOT worth.known AS counts, worth.known AS worth_is_known
  FROM judged j LEFT JOIN LATERAL (
    SELECT {WORTH_OURS} AS ours, {WORTH_THEIRS} AS theirs,
      greatest(abs({WORTH_THEIRS} - {WORTH_OURS}),
        abs(input_tokens - cached_tokens - cache_write_tokens - g_input + g_cached + g_cache_write)
          * c.input_usd
        + abs(cached_tokens - g_cached) * c.cached_usd
        + abs(cache_write_tokens - g_cache_write) * c.cache_write_usd
        + abs(output_tokens - g_output) * c.output_usd
        + abs(reasoning_tokens - g_reasoning) * abs(c.reasoning_usd - c.output_usd)) AS distance,
      c.input_usd + c.output_usd > 0 AS known
    FROM (SELECT coalesce(j.context,
                          (SELECT r.context FROM budgets_reservation r WHERE r.id = j.reservation_id),
                          'standard') AS context OFFSET 0) priced_in
      CROSS JOIN LATERAL catalog_card(j.model_id, priced_in.context, j.at, j.input_tokens) c
      CROSS JOIN LATERAL catalog_card(j.model_id, priced_in.context, j.at,
                                      coalesce(j.g_input, j.input_tokens)) g
  ) worth ON j.kind IN ('token_mismatch', 'zero_cost')
  WHERE kind IS NOT NULL
)
SELECT kind, external_id, at, coalesce(model_name, '') AS model_name, amount_usd,
  jsonb_build_object(
    'portal', jsonb_build_object('input', input_tokens, 'cached', cached_tokens,
      'cache_write', cache_write_tokens, 'output', output_tokens,
      'reasoning', reasoning_tokens, 'cost_usd', cost_usd::text),
    'gateway', jsonb_build_object('input', g_input, 'cached', g_cached, 'cache_write', g_cache_write,
      'output', g_output, 'reasoning', g_reasoning, 'cost_usd', g_cost::text))
    || CASE WHEN kind = 'token_mismatch' AND NOT worth_is_known
        OR kind = 'missing_at_portal' AND g_cost IS NULL
        OR kind = 'zero_cost' AND cost_usd = 0 AND amount_usd = 0
      THEN jsonb_build_object('unpriced', jsonb_build_array(coalesce(model_name, '')))
      ELSE jsonb_build_object() END AS detail
FROM priced WHERE counts
"""
