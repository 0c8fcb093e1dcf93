-- A suspension keeps its facts: it is told once and ended once. A planned activity may only be cancelled, once.
CREATE FUNCTION keys_suspension_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (NEW.id, NEW.public_id, NEW.key_id, NEW.cause, NEW.reason, NEW.evidence, NEW.suspended_at, NEW.suspended_by_id)
      IS DISTINCT FROM (OLD.id, OLD.public_id, OLD.key_id, OLD.cause, OLD.reason, OLD.evidence, OLD.suspended_at, OLD.suspended_by_id)
     OR (OLD.told_at IS NOT NULL AND NEW.told_at IS DISTINCT FROM OLD.told_at)
     OR (OLD.resumed_at IS NOT NULL AND (NEW.resumed_at, NEW.resumed_by_id, NEW.resumed_reason) IS DISTINCT FROM (OLD.resumed_at, OLD.resumed_by_id, OLD.resumed_reason)) THEN
    RAISE EXCEPTION 'a suspension keeps its facts, and is ended once' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER suspension_is_sound BEFORE UPDATE OR DELETE ON keys_suspension FOR EACH ROW EXECUTE FUNCTION keys_suspension_is_sound();

CREATE FUNCTION keys_plan_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR OLD.cancelled_at IS NOT NULL
     OR (NEW.id, NEW.public_id, NEW.key_id, NEW.starts_at, NEW.ends_at, NEW.most_usd_an_hour, NEW.reason, NEW.planned_at, NEW.planned_by_id)
      IS DISTINCT FROM (OLD.id, OLD.public_id, OLD.key_id, OLD.starts_at, OLD.ends_at, OLD.most_usd_an_hour, OLD.reason, OLD.planned_at, OLD.planned_by_id) THEN
    RAISE EXCEPTION 'a planned activity stays as it was planned, and is cancelled once' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER plan_is_sound BEFORE UPDATE OR DELETE ON keys_plannedactivity FOR EACH ROW EXECUTE FUNCTION keys_plan_is_sound();
