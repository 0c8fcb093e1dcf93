-- What raw SQL may not do to an approval. The names of the refusals are the rules; docs/adr/0005 says why they stand here.
CREATE FUNCTION approvals_refuse(p_rule text, p_why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', p_why USING ERRCODE = 'check_violation', CONSTRAINT = p_rule;
END $$;

-- A policy is a version: it may be retired once, nothing else.
CREATE FUNCTION approvals_policy_is_versioned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR OLD.retired_at IS NOT NULL OR (to_jsonb(NEW) - 'retired_at') IS DISTINCT FROM (to_jsonb(OLD) - 'retired_at') THEN
    PERFORM approvals_refuse('policy_is_versioned', 'a policy never changes: retire it and add a version');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER policy_is_versioned BEFORE UPDATE OR DELETE ON approvals_policy FOR EACH ROW EXECUTE FUNCTION approvals_policy_is_versioned();
ALTER TABLE approvals_policy ADD CONSTRAINT policy_has_stages CHECK (jsonb_typeof(stages) = 'array' AND jsonb_array_length(stages) > 0);

-- True when every stage of a revision up to `p_until` has its quorum of distinct humans, and there is such a stage (I2).
CREATE FUNCTION approvals_stages_are_passed(p_request bigint, p_revision int, p_until int) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT count(*) > 0 AND bool_and(s.quorum <= (
    SELECT count(DISTINCT d.actor_id) FROM approvals_decision d
    WHERE d.request_id = s.request_id AND d.revision = s.revision AND d.stage_index = s.index AND d.verdict = 'approve'))
  FROM approvals_stage s WHERE s.request_id = p_request AND s.revision = p_revision AND s.index <= p_until
$$;

-- A request starts pending, changes its scope only with its revision, moves on only with a quorum, and ends once (I2, I7).
CREATE FUNCTION approvals_request_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  movable text[] := '{status,stage_index,decided_at,closed_reason,key_id}';
  amendable text[] := '{revision,model_ids,reason,duration_days,expected_monthly_usd,policy_id,decide_by}';
  last_stage int;
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'pending' OR NEW.revision <> 1 OR NEW.stage_index <> 0 OR NEW.key_id IS NOT NULL THEN
      PERFORM approvals_refuse('request_starts_pending', 'a request starts pending, at its first revision and stage');
    END IF;
    RETURN NEW;
  END IF;
  IF TG_OP = 'DELETE' OR OLD.status <> 'pending' THEN
    PERFORM approvals_refuse('request_decided_is_final', 'a decided request never changes, and none is deleted');
  END IF;
  IF (to_jsonb(NEW) - movable - amendable) IS DISTINCT FROM (to_jsonb(OLD) - movable - amendable) THEN
    PERFORM approvals_refuse('request_keeps_its_people', 'a request keeps its people, project, tier and key');
  END IF;
  IF (to_jsonb(NEW) - movable) IS DISTINCT FROM (to_jsonb(OLD) - movable) THEN
    IF NEW.revision <> OLD.revision + 1 OR NEW.stage_index <> 0 OR NEW.status <> 'pending' THEN
      PERFORM approvals_refuse('request_scope_needs_a_revision', 'a change of scope is a new revision that starts at the first stage');
    END IF;
    RETURN NEW;
  END IF;
  SELECT max(index) INTO last_stage FROM approvals_stage WHERE request_id = OLD.id AND revision = OLD.revision;
  IF NEW.stage_index <> OLD.stage_index AND (NEW.stage_index <> OLD.stage_index + 1 OR NEW.status <> 'pending'
     OR NEW.stage_index > last_stage OR NOT approvals_stages_are_passed(OLD.id, OLD.revision, OLD.stage_index)) THEN
    PERFORM approvals_refuse('request_stage_needs_a_quorum', 'the next stage begins when this one has its quorum');
  END IF;
  IF (NEW.status = 'approved') <> (NEW.key_id IS NOT NULL)
     OR (NEW.status = 'approved' AND NOT approvals_stages_are_passed(OLD.id, OLD.revision, last_stage)) THEN
    PERFORM approvals_refuse('request_approved_has_its_quorum', 'an approval needs every quorum, and names its key');
  END IF;
  IF NEW.status = 'denied' AND NOT EXISTS (
    SELECT FROM approvals_decision WHERE request_id = OLD.id AND revision = OLD.revision AND verdict = 'deny') THEN
    PERFORM approvals_refuse('request_denied_has_a_decision', 'somebody denies a request');
  END IF;
  IF NEW.status = 'expired' AND NEW.decided_at < OLD.decide_by THEN
    PERFORM approvals_refuse('request_expires_at_its_time', 'a request expires when its time has passed');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER request_is_sound BEFORE INSERT OR UPDATE OR DELETE ON approvals_accessrequest FOR EACH ROW EXECUTE FUNCTION approvals_request_is_sound();
CREATE TRIGGER request_is_not_truncated BEFORE TRUNCATE ON approvals_accessrequest FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

-- Stages are pinned in order, before anybody decides on their revision.
CREATE FUNCTION approvals_stage_is_pinned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM approvals_accessrequest WHERE id = NEW.request_id AND status = 'pending' AND revision = NEW.revision FOR NO KEY UPDATE;
  IF NOT FOUND OR EXISTS (SELECT FROM approvals_decision WHERE request_id = NEW.request_id AND revision = NEW.revision)
     OR NEW.index <> (SELECT count(*) FROM approvals_stage WHERE request_id = NEW.request_id AND revision = NEW.revision) THEN
    PERFORM approvals_refuse('stage_is_pinned', 'stages are pinned in order, before the first decision of their revision');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER stage_is_pinned BEFORE INSERT ON approvals_stage FOR EACH ROW EXECUTE FUNCTION approvals_stage_is_pinned();
CREATE TRIGGER stage_is_append_only BEFORE UPDATE OR DELETE ON approvals_stage FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER stage_is_not_truncated BEFORE TRUNCATE ON approvals_stage FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

-- A decision counts one active human who is not the asker, once, in time, at the revision and stage of that moment (I3, I4, I6, I8).
CREATE FUNCTION approvals_decision_may_count() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  asked approvals_accessrequest;
  humans bigint[] := array_remove(ARRAY[NEW.actor_id, NEW.on_behalf_of_id], NULL);
BEGIN
  SELECT * INTO asked FROM approvals_accessrequest WHERE id = NEW.request_id FOR NO KEY UPDATE;
  IF asked.status <> 'pending' OR NEW.revision <> asked.revision OR NEW.stage_index <> asked.stage_index
     OR NOT EXISTS (SELECT FROM approvals_stage WHERE request_id = asked.id AND revision = asked.revision AND index = asked.stage_index) THEN
    PERFORM approvals_refuse('decision_is_on_what_waits', 'a decision is made on a pending request, at its revision and stage');
  END IF;
  IF NEW.at >= asked.decide_by OR statement_timestamp() >= asked.decide_by THEN
    PERFORM approvals_refuse('decision_is_in_time', 'nobody decides at or after decide_by');
  END IF;
  IF humans && ARRAY[asked.requester_id, asked.beneficiary_id] OR NEW.on_behalf_of_id = NEW.actor_id THEN
    PERFORM approvals_refuse('decision_is_not_on_own_request', 'nobody decides his own request, by himself or by a delegate');
  END IF;
  IF (SELECT count(*) FROM teams_user WHERE id = ANY (humans) AND is_active) <> cardinality(humans) THEN
    PERFORM approvals_refuse('decision_is_by_active_people', 'only active people decide');
  END IF;
  IF EXISTS (SELECT FROM approvals_decision d WHERE d.request_id = asked.id AND d.revision = asked.revision
             AND humans && ARRAY[d.actor_id, d.on_behalf_of_id]) THEN
    PERFORM approvals_refuse('decision_counts_nobody_twice', 'nobody counts twice in a revision, by himself or by a delegate');
  END IF;
  IF NEW.duration_days > asked.duration_days OR NEW.monthly_cap_usd > asked.expected_monthly_usd THEN
    PERFORM approvals_refuse('decision_only_lowers', 'an approver may lower the cap and the duration, never raise them');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER decision_may_count BEFORE INSERT ON approvals_decision FOR EACH ROW EXECUTE FUNCTION approvals_decision_may_count();
CREATE TRIGGER decision_is_append_only BEFORE UPDATE OR DELETE ON approvals_decision FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER decision_is_not_truncated BEFORE TRUNCATE ON approvals_decision FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

-- At commit: a grant comes from exactly one approved request and stays within what was asked, offered and pinned (I1, I2).
CREATE FUNCTION approvals_grant_was_approved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  asked approvals_accessrequest;
  owner bigint;
  project bigint;
  most_days int;
  most_usd numeric;
BEGIN
  SELECT * INTO asked FROM approvals_accessrequest WHERE public_id = NEW.source_request AND status = 'approved';
  IF NOT FOUND OR NOT approvals_stages_are_passed(asked.id, asked.revision, asked.stage_index) THEN
    PERFORM approvals_refuse('grant_was_approved', 'a grant comes from an approved request with every quorum');
  END IF;
  SELECT owner_id, project_id INTO owner, project FROM keys_apikey WHERE id = NEW.key_id;
  SELECT least(asked.duration_days, min(d.duration_days), (SELECT min(s.max_days) FROM approvals_stage s
           WHERE s.request_id = asked.id AND s.revision = asked.revision)), least(asked.expected_monthly_usd, min(d.monthly_cap_usd))
    INTO most_days, most_usd FROM approvals_decision d WHERE d.request_id = asked.id AND d.revision = asked.revision;
  IF NEW.key_id <> asked.key_id OR owner <> asked.beneficiary_id OR project <> asked.project_id OR NEW.tier_id <> asked.tier_id
     OR asked.extends_key_id <> NEW.key_id
     OR (asked.model_ids <> '{}' AND (NEW.model_ids = '{}' OR NOT NEW.model_ids <@ asked.model_ids))
     OR NEW.monthly_cap_usd IS NULL OR NEW.monthly_cap_usd > most_usd
     OR NEW.expires_at - NEW.starts_at > make_interval(hours => 24 * most_days) OR NEW.starts_at < asked.decided_at
     OR NOT EXISTS (SELECT FROM approvals_decision d WHERE d.request_id = asked.id AND d.revision = asked.revision
                    AND d.verdict = 'approve' AND d.actor_id = NEW.granted_by_id) THEN
    PERFORM approvals_refuse('grant_is_within_what_was_approved', 'a grant stays within the key, tier, models, cap and days that were approved');
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER grant_was_approved AFTER INSERT ON keys_grant DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION approvals_grant_was_approved();
CREATE TRIGGER grant_is_not_truncated BEFORE TRUNCATE ON keys_grant FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

-- At commit: an approval has its one grant (one grant a request is a unique constraint of keys_grant).
CREATE FUNCTION approvals_approval_has_its_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM keys_grant WHERE source_request = NEW.public_id AND key_id = NEW.key_id) THEN
    PERFORM approvals_refuse('approval_has_its_grant', 'an approval gives its grant in the same transaction');
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER approval_has_its_grant AFTER UPDATE ON approvals_accessrequest DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.status = 'approved') EXECUTE FUNCTION approvals_approval_has_its_grant();
