-- A caller's name for a model is unique over names and aliases together.
CREATE FUNCTION catalog_one_name_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('catalog_one_name_space'));
  IF TG_TABLE_NAME = 'catalog_alias' AND EXISTS (SELECT FROM catalog_llmmodel m WHERE m.name = NEW.name)
     OR TG_TABLE_NAME = 'catalog_llmmodel' AND EXISTS (SELECT FROM catalog_alias a WHERE a.name = NEW.name) THEN
    RAISE EXCEPTION 'model name % is taken', NEW.name USING ERRCODE = 'unique_violation', CONSTRAINT = 'catalog_one_name_space';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER alias_name_is_free BEFORE INSERT OR UPDATE OF name ON catalog_alias FOR EACH ROW EXECUTE FUNCTION catalog_one_name_space();
CREATE TRIGGER model_name_is_free BEFORE INSERT OR UPDATE OF name ON catalog_llmmodel FOR EACH ROW EXECUTE FUNCTION catalog_one_name_space();

-- A price is dated, never edited: only its end may be set, or come nearer, and never in the past, where it would re-price calls that were made.
CREATE FUNCTION catalog_price_is_dated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (to_jsonb(NEW) - 'valid_until') IS DISTINCT FROM (to_jsonb(OLD) - 'valid_until')
     OR NEW.valid_until IS NULL OR NEW.valid_until > OLD.valid_until OR NEW.valid_until < now() THEN
    RAISE EXCEPTION 'prices are dated, never edited: end this one and add another' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER price_is_dated BEFORE UPDATE OR DELETE ON catalog_price FOR EACH ROW EXECUTE FUNCTION catalog_price_is_dated();
CREATE TRIGGER price_is_not_truncated BEFORE TRUNCATE ON catalog_price FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

CREATE FUNCTION catalog_model_id(p_name text) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT id FROM catalog_llmmodel WHERE name = p_name AND retired_at IS NULL
  UNION ALL
  SELECT a.model_id FROM catalog_alias a JOIN catalog_llmmodel m ON m.id = a.model_id WHERE a.name = p_name AND m.retired_at IS NULL
  LIMIT 1
$$;

-- The rows that may price a call of `p_model` at `p_at`: per unit and context a contract beats a manual override beats an imported list;
-- a unit that nobody priced in `p_context` is charged at the dearest of the contexts it is priced in.
CREATE FUNCTION catalog_live_prices(p_model bigint, p_context text, p_at timestamptz, p_input_tokens bigint)
RETURNS TABLE (id bigint, unit text, context text, tier_start int, usd_per_unit numeric) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  WITH live AS (
    SELECT p.id, p.unit, p.context, p.tier_start, p.usd_per_unit,
           rank() OVER (PARTITION BY p.unit, p.context ORDER BY CASE p.source WHEN 'contract' THEN 0 WHEN 'manual' THEN 1 ELSE 2 END) AS place,
           bool_or(p.context = p_context) OVER (PARTITION BY p.unit) AS context_is_priced
    FROM catalog_price p
    WHERE p.model_id = p_model AND p.valid_from <= p_at AND (p.valid_until IS NULL OR p.valid_until > p_at)
      AND p.tier_start <= p_input_tokens
  )
  SELECT id, unit, context, tier_start, usd_per_unit FROM live WHERE place = 1 AND (context = p_context OR NOT context_is_priced)
$$;

-- What each kind of token costs for a call with this total input: the whole call is at the step of its total input.
-- A kind without a price of its own costs what the kind it is part of costs. The pure twin is catalog/pricing.py.
CREATE FUNCTION catalog_rates(p_model bigint, p_context text, p_at timestamptz, p_input_tokens bigint,
  OUT input_usd numeric, OUT cached_usd numeric, OUT cache_write_usd numeric, OUT output_usd numeric, OUT reasoning_usd numeric,
  OUT request_usd numeric, OUT price_ids bigint[]) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  WITH step AS (
    SELECT DISTINCT ON (unit, context) id, unit, usd_per_unit FROM catalog_live_prices(p_model, p_context, p_at, p_input_tokens)
    ORDER BY unit, context, tier_start DESC, usd_per_unit DESC, id
  ), chosen AS (
    SELECT DISTINCT ON (unit) id, unit, usd_per_unit FROM step ORDER BY unit, usd_per_unit DESC, id
  ), flat AS (
    SELECT max(usd_per_unit) FILTER (WHERE unit = 'input') AS input_usd, max(usd_per_unit) FILTER (WHERE unit = 'cached') AS cached_usd,
           max(usd_per_unit) FILTER (WHERE unit = 'cache_write') AS cache_write_usd, max(usd_per_unit) FILTER (WHERE unit = 'output') AS output_usd,
           max(usd_per_unit) FILTER (WHERE unit = 'reasoning') AS reasoning_usd, max(usd_per_unit) FILTER (WHERE unit = 'request') AS request_usd,
           coalesce(array_agg(id ORDER BY id), '{}') AS price_ids
    FROM chosen
  )
  SELECT coalesce(input_usd, 0), coalesce(cached_usd, input_usd, 0), coalesce(cache_write_usd, input_usd, 0), coalesce(output_usd, 0),
         coalesce(reasoning_usd, output_usd, 0), coalesce(request_usd, 0), price_ids
  FROM flat
$$;

-- The dearest that a call with at most this input can be charged per token of input and of output; `priced` is false without a price in force.
CREATE FUNCTION catalog_dearest(p_model bigint, p_context text, p_at timestamptz, p_input_bound bigint,
  OUT input_usd numeric, OUT output_usd numeric, OUT request_usd numeric, OUT priced boolean) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(max(p.usd_per_unit) FILTER (WHERE p.unit IN ('input', 'cached', 'cache_write')), 0),
         coalesce(max(p.usd_per_unit) FILTER (WHERE p.unit IN ('output', 'reasoning')), 0),
         coalesce(max(p.usd_per_unit) FILTER (WHERE p.unit = 'request'), 0),
         coalesce(bool_or(p.unit = 'input') AND (bool_or(p.unit = 'output') OR min(m.mode) = 'embedding'), false)
  FROM catalog_llmmodel m LEFT JOIN catalog_live_prices(m.id, p_context, p_at, p_input_bound) p ON true
  WHERE m.id = p_model
$$;
