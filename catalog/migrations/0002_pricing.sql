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

-- A price is dated, never edited: only its end may be set, or come nearer, and never in the past, where it would re-price calls that were made: unless another one of its
-- place and source holds from that very moment on. Calls that were made keep their charge even so, until they are priced again.
CREATE FUNCTION catalog_price_is_dated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (to_jsonb(NEW) - 'valid_until') IS DISTINCT FROM (to_jsonb(OLD) - 'valid_until')
     OR NEW.valid_until IS NULL OR NEW.valid_until > OLD.valid_until
     OR NEW.valid_until < now() AND NOT EXISTS (
       SELECT FROM catalog_price p WHERE p.id <> OLD.id AND (p.model_id, p.unit, p.context, p.tier_start, p.source) = (OLD.model_id, OLD.unit, OLD.context, OLD.tier_start, OLD.source)
         AND p.valid_from = NEW.valid_until AND (p.valid_until IS NULL OR p.valid_until > p.valid_from)) THEN
    RAISE EXCEPTION 'prices are dated, never edited: end this one and add another' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER price_is_dated BEFORE UPDATE OR DELETE ON catalog_price FOR EACH ROW EXECUTE FUNCTION catalog_price_is_dated();
CREATE TRIGGER price_is_not_truncated BEFORE TRUNCATE ON catalog_price FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
