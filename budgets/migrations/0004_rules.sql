-- What a budget is never changes (its limit does, by dated rows, and so do its rules), and its scope exists. Its department is its scope's.
CREATE OR REPLACE FUNCTION budgets_budget_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  home bigint;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF (to_jsonb(NEW) - '{closed_at,mode,allocation,overcommit_ratio,roll_over,department_id,alert_percents}'::text[])
       IS DISTINCT FROM (to_jsonb(OLD) - '{closed_at,mode,allocation,overcommit_ratio,roll_over,department_id,alert_percents}'::text[]) OR OLD.closed_at IS NOT NULL THEN
      RAISE EXCEPTION 'a budget keeps its scope and window: close it and open another' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.department_id IS NOT DISTINCT FROM OLD.department_id THEN RETURN NEW; END IF;
  END IF;
  IF NEW.scope_kind = 'organisation' THEN RETURN NEW; END IF;
  home := (budgets_scope_of(NEW.scope_kind, NEW.scope_id)).department_id;
  IF home IS DISTINCT FROM NEW.department_id THEN
    RAISE EXCEPTION 'budget scope % % does not exist in department %', NEW.scope_kind, NEW.scope_id, NEW.department_id USING ERRCODE = 'foreign_key_violation';
  END IF;
  PERFORM now() AT TIME ZONE NEW.time_zone;
  RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS budget_is_sound ON budgets_budget;
CREATE TRIGGER budget_is_sound BEFORE INSERT OR UPDATE ON budgets_budget FOR EACH ROW EXECUTE FUNCTION budgets_budget_is_sound();

-- A rate limit is for a scope that exists.
CREATE FUNCTION budgets_rate_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND (NEW.scope_kind, NEW.scope_id) IS DISTINCT FROM (OLD.scope_kind, OLD.scope_id) THEN
    RAISE EXCEPTION 'a rate limit keeps its scope' USING ERRCODE = 'restrict_violation';
  END IF;
  IF TG_OP = 'INSERT' AND (budgets_scope_of(NEW.scope_kind, NEW.scope_id)).department_id IS NULL THEN
    RAISE EXCEPTION 'rate limit scope % % does not exist', NEW.scope_kind, NEW.scope_id USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER rate_is_sound BEFORE INSERT OR UPDATE OF scope_kind, scope_id ON budgets_ratelimit FOR EACH ROW EXECUTE FUNCTION budgets_rate_is_sound();

-- The ledger and the usage name these rows without foreign keys, so nothing may delete them.
CREATE FUNCTION core_never_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% rows are kept for the books: archive, retire or deactivate instead', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER is_never_deleted BEFORE DELETE ON teams_department FOR EACH ROW EXECUTE FUNCTION core_never_deleted();
CREATE TRIGGER is_never_deleted BEFORE DELETE ON teams_team FOR EACH ROW EXECUTE FUNCTION core_never_deleted();
CREATE TRIGGER is_never_deleted BEFORE DELETE ON teams_project FOR EACH ROW EXECUTE FUNCTION core_never_deleted();
CREATE TRIGGER is_never_deleted BEFORE DELETE ON teams_user FOR EACH ROW EXECUTE FUNCTION core_never_deleted();
CREATE TRIGGER is_never_deleted BEFORE DELETE ON catalog_llmmodel FOR EACH ROW EXECUTE FUNCTION core_never_deleted();
CREATE TRIGGER is_never_deleted BEFORE DELETE ON catalog_tier FOR EACH ROW EXECUTE FUNCTION core_never_deleted();
CREATE TRIGGER is_never_deleted BEFORE DELETE ON budgets_budget FOR EACH ROW EXECUTE FUNCTION core_never_deleted();

-- Hot rows: room on the page for HOT updates, early vacuum.
ALTER TABLE budgets_ratelimit SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE budgets_lease SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE budgets_lease ADD CONSTRAINT lease_path_is_whole CHECK (cardinality(budget_ids) = cardinality(window_starts));
