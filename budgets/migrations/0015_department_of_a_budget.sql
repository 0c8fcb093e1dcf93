-- An open budget is of the department that its scope is part of now: a move takes it along. A closed one stays where it ended.
CREATE FUNCTION budgets_follow_the_scope() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE budgets_budget b SET department_id = home.id
    FROM (SELECT o.id AS budget_id, (budgets_scope_of(o.scope_kind, o.scope_id)).department_id AS id FROM budgets_budget o
          WHERE o.closed_at IS NULL AND o.scope_kind IN ('team', 'project', 'key')) home
    WHERE b.id = home.budget_id AND b.department_id IS DISTINCT FROM home.id;
  RETURN NULL;
END $$;
CREATE TRIGGER budgets_follow AFTER UPDATE OF department_id ON teams_team FOR EACH STATEMENT EXECUTE FUNCTION budgets_follow_the_scope();
CREATE TRIGGER budgets_follow AFTER UPDATE OF team_id ON teams_project FOR EACH STATEMENT EXECUTE FUNCTION budgets_follow_the_scope();
-- Those whose scope moved before there was a rule: the trigger is for the statement, so one without rows sets them right.
UPDATE teams_team SET department_id = department_id WHERE false;
