-- A request for more budget starts pending, changes what it asks for only with its revision, is decided by an active person who did not ask, in time by
-- both clocks, and never changes after its end. An approval names the limit that its approver set for it.
CREATE FUNCTION approvals_budget_request_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  movable text[] := '{status,decided_at,decided_by_id,comment,limit_id}';
  amendable text[] := '{revision,limit_usd,until,reason,role,decide_by}';
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'pending' OR NEW.revision <> 1 THEN
      PERFORM approvals_refuse('budget_request_starts_pending', 'a request starts pending, at its first revision');
    END IF;
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
    IF NOT EXISTS (SELECT FROM teams_user WHERE id = NEW.decided_by_id AND is_active) THEN
      PERFORM approvals_refuse('budget_request_is_decided_by_active_people', 'only active people decide');
    END IF;
  END IF;
  IF NEW.status = 'approved' AND NOT EXISTS (
    SELECT FROM budgets_budgetlimit l WHERE l.id = NEW.limit_id AND l.budget_id = NEW.budget_id AND l.actor_id = NEW.decided_by_id
      AND CASE WHEN NEW.until IS NULL THEN l.kind = 'base' AND l.amount_usd = NEW.limit_usd
               ELSE l.kind = 'top_up' AND l.valid_until = NEW.until AND l.amount_usd <= NEW.limit_usd END) THEN
    PERFORM approvals_refuse('budget_request_gives_what_was_asked', 'an approval sets the limit that was asked for, by its approver');
  END IF;
  IF NEW.status = 'expired' AND NEW.decided_at < OLD.decide_by THEN
    PERFORM approvals_refuse('budget_request_expires_at_its_time', 'a request expires when its time has passed');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER budget_request_is_sound BEFORE INSERT OR UPDATE OR DELETE ON approvals_budgetrequest
  FOR EACH ROW EXECUTE FUNCTION approvals_budget_request_is_sound();
CREATE TRIGGER budget_request_is_not_truncated BEFORE TRUNCATE ON approvals_budgetrequest FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
