-- The day roll-up, folded by project where its days are over for long (docs/adr/0033). Both functions have their days of the database's clock.

-- Folds what is not folded yet, up to ten days ago, and returns how many rows that made; NULL when somebody else folds, or is just changing a day of long ago.
CREATE FUNCTION usage_fold() RETURNS int LANGUAGE plpgsql SET jit = off AS $$
DECLARE v_from date; v_until date := current_date - 10; v_made int;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended('usage_fold', 0)) THEN
    RETURN NULL;
  END IF;
  SELECT coalesce(min(until), '-infinity') INTO v_from FROM usage_folded;
  IF v_from >= v_until THEN
    RETURN 0;
  END IF;
  DELETE FROM usage_project_day WHERE day >= v_from;
  INSERT INTO usage_project_day (day, project_id, team_id, department_id, cost_usd)
    SELECT day, project_id, team_id, department_id, sum(cost_usd) FROM usage_day WHERE day >= v_from AND day < v_until GROUP BY 1, 2, 3, 4;
  GET DIAGNOSTICS v_made = ROW_COUNT;
  DELETE FROM usage_folded;
  INSERT INTO usage_folded (until) VALUES (v_until);
  RETURN v_made;
END $$;

-- Has the days from a changed one on read from the roll-up itself, until they are folded again. The lock is shared with all who do this: whoever folds must see a change, or be seen by it.
CREATE FUNCTION usage_unfold() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE v_day date := least(OLD.day, NEW.day);
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('usage_fold', 0));
  INSERT INTO usage_folded (until) SELECT v_day FROM usage_folded HAVING min(until) > v_day;
  RETURN NULL;
END $$;

-- What is changed day by day costs no more than a comparison. Two days lie between these and the last one that is folded: a transaction may see midnight, and time zones differ.
CREATE TRIGGER usage_day_unfolds AFTER INSERT ON usage_day FOR EACH ROW WHEN (NEW.day < CURRENT_DATE - 8) EXECUTE FUNCTION usage_unfold();
CREATE TRIGGER usage_day_unfolds_changed AFTER UPDATE ON usage_day FOR EACH ROW WHEN (least(OLD.day, NEW.day) < CURRENT_DATE - 8) EXECUTE FUNCTION usage_unfold();
CREATE TRIGGER usage_day_unfolds_deleted AFTER DELETE ON usage_day FOR EACH ROW WHEN (OLD.day < CURRENT_DATE - 8) EXECUTE FUNCTION usage_unfold();
