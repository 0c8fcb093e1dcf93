-- What one call pays and what it can pay at most. The pure twin of the first half is catalog/pricing.py.
--
-- Per unit and context a contract beats a manual override beats an imported list; of that source the whole call is at the highest step that its total
-- input reaches. A unit that nobody priced in `p_context` is charged at the dearest of the contexts it is priced in. A kind of token without a price of
-- its own costs what the kind it is part of costs. `unit_usd` has what is counted beside tokens, and for tokens that a total counts too (kept for an hour
-- in the cache, audio, images) what they cost above the kind they are part of, so that the totals may stay as they are. The `dear_` figures are the dearest
-- of all steps up to this input and, of tokens, of every kind: a hold bounds what it does not know. `priced` is false where a call of this kind of model
-- could not be charged; `step` and `epoch` of `catalog_place` tell calls that share a card.
CREATE OR REPLACE FUNCTION catalog_card(p_model bigint, p_context text, p_at timestamptz, p_input_tokens bigint)
RETURNS TABLE (input_usd numeric, cached_usd numeric, cache_write_usd numeric, output_usd numeric, reasoning_usd numeric, request_usd numeric, unit_usd jsonb, price_ids bigint[],
  dear_input_usd numeric, dear_output_usd numeric, dear_request_usd numeric, dear_unit_usd jsonb, priced boolean)
LANGUAGE sql STABLE AS $$
  WITH live AS (
    SELECT x.id, x.unit, x.context, x.tier_start, x.usd_per_unit AS usd,
      rank() OVER (PARTITION BY x.unit, x.context ORDER BY CASE x.source WHEN 'contract' THEN 0 WHEN 'manual' THEN 1 ELSE 2 END) AS place,
      bool_or(x.context = p_context) OVER (PARTITION BY x.unit) AS is_priced_here
    FROM catalog_price x
    WHERE x.model_id = p_model AND x.valid_from <= p_at AND (x.valid_until IS NULL OR x.valid_until > p_at) AND x.tier_start <= p_input_tokens
  ), step AS (
    SELECT l.*, row_number() OVER (PARTITION BY l.unit, l.context ORDER BY l.tier_start DESC, l.usd DESC, l.id) AS step
    FROM live l WHERE l.place = 1 AND (l.context = p_context OR NOT l.is_priced_here)
  ), rate AS (
    SELECT s.unit, max(s.usd) AS dear, max(s.usd) FILTER (WHERE s.step = 1) AS usd, (array_agg(s.id ORDER BY s.usd DESC, s.id) FILTER (WHERE s.step = 1))[1] AS id
    FROM step s GROUP BY s.unit
  ), flat AS (
    SELECT max(usd) FILTER (WHERE unit = 'input') AS input, max(usd) FILTER (WHERE unit = 'cached') AS cached, max(usd) FILTER (WHERE unit = 'cache_write') AS cache_write,
      max(usd) FILTER (WHERE unit = 'output') AS output, max(usd) FILTER (WHERE unit = 'reasoning') AS reasoning, max(usd) FILTER (WHERE unit = 'request') AS request,
      coalesce(jsonb_object_agg(unit, usd) FILTER (WHERE unit IN ('second', 'character', 'image', 'page', 'search')), '{}') AS units,
      coalesce(jsonb_object_agg(unit, dear) FILTER (WHERE unit IN ('second', 'character', 'image', 'page', 'search')), '{}') AS dear_units,
      jsonb_object_agg(unit, usd) FILTER (WHERE unit IN ('cache_write_1h', 'input_audio', 'cached_audio', 'output_audio', 'input_image', 'output_image')) AS parts,
      coalesce(array_agg(id ORDER BY id), '{}') AS ids,
      max(dear) FILTER (WHERE unit IN ('input', 'cached', 'cache_write', 'cache_write_1h', 'input_audio', 'cached_audio', 'input_image')) AS dear_input,
      max(dear) FILTER (WHERE unit IN ('output', 'reasoning', 'output_audio', 'output_image')) AS dear_output, max(dear) FILTER (WHERE unit = 'request') AS dear_request
    FROM rate
  )
  SELECT coalesce(input, 0), coalesce(cached, input, 0), coalesce(cache_write, input, 0), coalesce(output, 0), coalesce(reasoning, output, 0), coalesce(request, 0),
    CASE WHEN parts IS NULL THEN units ELSE units || (
      SELECT jsonb_object_agg(part.key, part.value::text::numeric - CASE part.key WHEN 'cache_write_1h' THEN coalesce(cache_write, input, 0) WHEN 'cached_audio' THEN coalesce(cached, input, 0)
                                                                    WHEN 'output_audio' THEN coalesce(output, 0) WHEN 'output_image' THEN coalesce(output, 0) ELSE coalesce(input, 0) END)
      FROM jsonb_each(parts) part) END,
    ids, coalesce(dear_input, 0), coalesce(dear_output, 0), coalesce(dear_request, 0), dear_units,
    CASE (SELECT mode FROM catalog_llmmodel WHERE id = p_model)
      WHEN 'chat' THEN input IS NOT NULL AND output IS NOT NULL WHEN 'embedding' THEN input IS NOT NULL
      WHEN 'transcription' THEN request IS NOT NULL OR units ? 'second' WHEN 'speech' THEN request IS NOT NULL OR units ?| '{second,character}'
      WHEN 'image' THEN request IS NOT NULL OR units ? 'image' END
  FROM flat
$$;

-- Who entered the prices by hand that are there, and why: the row named its author, the audit the reason.
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE catalog_price DISABLE TRIGGER price_is_dated;
UPDATE catalog_price p SET author_id = u.id,
    reason = left(coalesce((SELECT a.reason FROM core_auditevent a WHERE a.action = 'prices.entered' AND a.object_id = m.public_id AND a.actor_id = u.id
                            ORDER BY abs(extract(epoch FROM a.at - p.recorded_at)) LIMIT 1), ''), 240)
  FROM teams_user u, catalog_llmmodel m WHERE p.source = 'manual' AND u.public_id = p.source_version AND m.id = p.model_id;
ALTER TABLE catalog_price ENABLE TRIGGER price_is_dated;
SET CONSTRAINTS ALL DEFERRED;
