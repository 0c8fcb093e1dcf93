-- A request for more budget is reminded of, and starts again when its project moved: the row knows when its revision began, and in which team.
-- Its approver may give less than was asked for, or for less time.
CREATE OR REPLACE FUNCTION approvals_budget_request_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  humans bigint[] := array_remove(ARRAY[NEW.decided_by_id, NEW.on_behalf_of_id], NULL);
  movable text[] := '{status,decided_at,decided_by_id,on_behalf_of_id,comment,limit_id,reminders}';
  amendable text[] := '{revision,limit_usd,until,reason,role,decide_by,revised_at,revised_in_id}';
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'pending' OR NEW.revision <> 1 THEN
      PERFORM approvals_refuse('budget_request_starts_pending', 'a request starts pending, at its first revision');
    END IF;
    NEW.revised_at := coalesce(NEW.revised_at, NEW.created_at);
    NEW.revised_in_id := coalesce(NEW.revised_in_id, (SELECT team_id FROM teams_project WHERE id = NEW.project_id));
    RETURN NEW;
  END IF;
  IF TG_OP = 'DELETE' OR OLD.status <> 'pending' THEN
    PERFORM approvals_refuse('budget_request_decided_is_final', 'a decided request never changes, and none is deleted');
  END IF;
  IF (to_jsonb(NEW) - movable - amendable) IS DISTINCT FROM (to_jsonb(OLD) - movable - amendable) THEN
    PERFORM approvals_refuse('budget_request_keeps_its_budget', 'a request keeps its requester and its budget');
  END IF;
  IF (to_jsonb(NEW) - movable) IS DISTINCT FROM (to_jsonb(OLD) - movable) THEN
    IF NEW.revision <> OLD.revision + 1 OR NEW.status <> 'pending' THEN
      PERFORM approvals_refuse('budget_request_change_needs_a_revision', 'a change of what is asked for is a new revision, still pending');
    END IF;
    RETURN NEW;
  END IF;
  IF NEW.status IN ('approved', 'denied') THEN
    IF NEW.decided_at >= OLD.decide_by OR statement_timestamp() >= OLD.decide_by THEN
      PERFORM approvals_refuse('budget_request_is_decided_in_time', 'nobody decides at or after decide_by');
    END IF;
    IF (SELECT count(*) FROM teams_user WHERE id = ANY (humans) AND is_active) <> cardinality(humans) THEN
      PERFORM approvals_refuse('budget_request_is_decided_by_active_people', 'only active people decide');
    END IF;
    IF NEW.on_behalf_of_id IS NOT NULL AND NOT EXISTS (
      SELECT FROM approvals_delegation l WHERE l.giver_id = NEW.on_behalf_of_id AND l.taker_id = NEW.decided_by_id
        AND l.valid_from <= NEW.decided_at AND l.valid_until > NEW.decided_at) THEN
      PERFORM approvals_refuse('budget_request_decided_for_another_has_a_delegation', 'who decides for another has his delegation at that moment');
    END IF;
  END IF;
  IF NEW.status = 'approved' AND NOT EXISTS (
    SELECT FROM budgets_budgetlimit l WHERE l.id = NEW.limit_id AND l.budget_id = NEW.budget_id AND l.actor_id = NEW.decided_by_id
      AND CASE WHEN NEW.until IS NULL THEN l.kind = 'base' AND l.amount_usd <= NEW.limit_usd
               ELSE l.kind = 'top_up' AND l.valid_until <= NEW.until AND l.amount_usd <= NEW.limit_usd END) THEN
    PERFORM approvals_refuse('budget_request_gives_what_was_asked', 'an approval sets the limit that was asked for or a lower one, by its approver');
  END IF;
  IF NEW.status = 'expired' AND NEW.decided_at < OLD.decide_by THEN
    PERFORM approvals_refuse('budget_request_expires_at_its_time', 'a request expires when its time has passed');
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER budget_comment_is_append_only BEFORE UPDATE OR DELETE ON approvals_budgetcomment FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER budget_comment_is_not_truncated BEFORE TRUNCATE ON approvals_budgetcomment FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
