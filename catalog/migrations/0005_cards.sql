DROP FUNCTION IF EXISTS catalog_dearest(bigint, text, timestamptz, bigint);
DROP FUNCTION IF EXISTS catalog_rates(bigint, text, timestamptz, bigint);
DROP FUNCTION IF EXISTS catalog_live_prices(bigint, text, timestamptz, bigint);

-- What one call pays and what it can pay at most. The pure twin of the first half is catalog/pricing.py.
--
-- Per unit and context a contract beats a manual override beats an imported list; of that source the whole call is at the highest step that its total
-- input reaches. A unit that nobody priced in `p_context` is charged at the dearest of the contexts it is priced in. A kind of token without a price of
-- its own costs what the kind it is part of costs. The `dear_` figures are the dearest of all steps up to this input. `priced` is false where a call of
-- this kind of model could not be charged; `step` and `epoch` of `catalog_place` tell calls that share a card.
CREATE FUNCTION catalog_card(p_model bigint, p_context text, p_at timestamptz, p_input_tokens bigint,
  OUT input_usd numeric, OUT cached_usd numeric, OUT cache_write_usd numeric, OUT output_usd numeric, OUT reasoning_usd numeric, OUT request_usd numeric,
  OUT unit_usd jsonb, OUT price_ids bigint[], OUT dear_input_usd numeric, OUT dear_output_usd numeric, OUT dear_request_usd numeric, OUT dear_unit_usd jsonb,
  OUT priced boolean)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  units CONSTANT text[] := '{input,cached,cache_write,output,reasoning,request,second,character,image,page,search}';
  p record;
  v_unit text := '';
  v_context text;
  v_place int;
  v_asked boolean;
  v_is_step boolean;
  n int;
  v_usd numeric[] := array_fill(NULL::numeric, ARRAY[11]);
  v_dear numeric[] := array_fill(NULL::numeric, ARRAY[11]);
  v_ids bigint[] := array_fill(NULL::bigint, ARRAY[11]);
BEGIN
  FOR p IN
    SELECT x.id, x.unit, x.context, x.usd_per_unit AS usd, x.context = p_context AS asked, CASE x.source WHEN 'contract' THEN 0 WHEN 'manual' THEN 1 ELSE 2 END AS place
    FROM catalog_price x
    WHERE x.model_id = p_model AND x.valid_from <= p_at AND (x.valid_until IS NULL OR x.valid_until > p_at) AND x.tier_start <= p_input_tokens
    ORDER BY x.unit, x.context = p_context DESC, x.context, place, x.tier_start DESC, x.usd_per_unit DESC, x.id
  LOOP
    IF p.unit <> v_unit THEN v_unit := p.unit; v_asked := p.asked; v_context := ''; n := array_position(units, p.unit); END IF;
    CONTINUE WHEN v_asked AND NOT p.asked;
    v_is_step := p.context <> v_context;
    IF v_is_step THEN v_context := p.context; v_place := p.place; END IF;
    CONTINUE WHEN p.place <> v_place;
    v_dear[n] := greatest(v_dear[n], p.usd);
    IF v_is_step AND (v_usd[n] IS NULL OR p.usd > v_usd[n] OR (p.usd = v_usd[n] AND p.id < v_ids[n])) THEN v_usd[n] := p.usd; v_ids[n] := p.id; END IF;
  END LOOP;

  input_usd := coalesce(v_usd[1], 0);
  cached_usd := coalesce(v_usd[2], v_usd[1], 0);
  cache_write_usd := coalesce(v_usd[3], v_usd[1], 0);
  output_usd := coalesce(v_usd[4], 0);
  reasoning_usd := coalesce(v_usd[5], v_usd[4], 0);
  request_usd := coalesce(v_usd[6], 0);
  dear_input_usd := coalesce(greatest(v_dear[1], v_dear[2], v_dear[3]), 0);
  dear_output_usd := coalesce(greatest(v_dear[4], v_dear[5]), 0);
  dear_request_usd := coalesce(v_dear[6], 0);
  unit_usd := '{}';
  dear_unit_usd := '{}';
  FOR i IN 7 .. 11 LOOP
    CONTINUE WHEN v_usd[i] IS NULL;
    unit_usd := unit_usd || jsonb_build_object(units[i], v_usd[i]);
    dear_unit_usd := dear_unit_usd || jsonb_build_object(units[i], v_dear[i]);
  END LOOP;
  price_ids := ARRAY(SELECT id FROM unnest(v_ids) id WHERE id IS NOT NULL ORDER BY id);
  priced := CASE (SELECT mode FROM catalog_llmmodel WHERE id = p_model)
    WHEN 'chat' THEN v_usd[1] IS NOT NULL AND v_usd[4] IS NOT NULL
    WHEN 'embedding' THEN v_usd[1] IS NOT NULL
    WHEN 'transcription' THEN coalesce(v_usd[6], v_usd[7]) IS NOT NULL
    WHEN 'speech' THEN coalesce(v_usd[6], v_usd[7], v_usd[8]) IS NOT NULL
    WHEN 'image' THEN coalesce(v_usd[6], v_usd[9]) IS NOT NULL END;
END $$;

-- Calls of one model and context that agree in `step` and `epoch` have one card: no price begins, ends or steps between them.
CREATE FUNCTION catalog_place(p_model bigint, p_at timestamptz, p_input_tokens bigint) RETURNS TABLE (step int, epoch timestamptz) LANGUAGE sql STABLE AS $$
  SELECT max(tier_start) FILTER (WHERE tier_start <= p_input_tokens), greatest(max(valid_from), max(valid_until) FILTER (WHERE valid_until <= p_at))
  FROM catalog_price WHERE model_id = p_model AND valid_from <= p_at
$$;

-- What units that are not tokens cost, by the rates of a card; units without a rate cost nothing.
CREATE FUNCTION catalog_units_usd(p_units jsonb, p_rates jsonb) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(sum(u.value::text::numeric * (p_rates->>u.key)::numeric), 0) FROM jsonb_each(p_units) u
$$;
