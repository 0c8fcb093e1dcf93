-- A stage's clock starts with the stage: whoever writes by hand may not hasten an escalation, and so who may decide (I5).
CREATE FUNCTION approvals_stage_has_its_clock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.stage_began_at := coalesce(NEW.stage_began_at, NEW.revised_at);
    RETURN NEW;
  END IF;
  IF NEW.stage_began_at IS DISTINCT FROM OLD.stage_began_at AND NEW.revision = OLD.revision AND NEW.stage_index = OLD.stage_index THEN
    PERFORM approvals_refuse('request_clock_starts_with_its_stage', 'the clock of a stage starts when the stage does');
  END IF;
  RETURN NEW;
END $$;
-- After request_is_sound, by its name: that one fills in when the revision began.
CREATE TRIGGER request_stage_has_its_clock BEFORE INSERT OR UPDATE ON approvals_accessrequest FOR EACH ROW EXECUTE FUNCTION approvals_stage_has_its_clock();
