-- The guards for delegation, extension and break-glass; docs/adr/0009 says why. A grant comes from an approved request, or from breaking the glass
-- as its review begins: then it is short and capped by the policy that the review pinned.
-- A rule may approve an extension in Tier 2 alone, of the same scope, that a human approved not long ago (I19). An emergency is no approval of more.
CREATE FUNCTION approvals_rule_may_extend(p_asked approvals_accessrequest) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT p_asked.kind = 'extension' AND p_asked.tier_id = 2 AND EXISTS (
    SELECT FROM approvals_policy p, keys_grant o
      JOIN approvals_accessrequest s ON s.public_id = o.source_request AND NOT s.by_rule
       AND s.status = 'approved' AND s.kind IN ('access', 'extension')
      JOIN approvals_decision d ON d.request_id = s.id AND d.revision = s.revision AND d.verdict = 'approve'
    WHERE p.id = p_asked.policy_id AND p.auto_extend AND o.id = p_asked.extends_grant_id AND o.revoked_at IS NULL
      AND d.at > statement_timestamp() - make_interval(hours => 24 * p.auto_human_days)
      AND o.model_ids = p_asked.model_ids AND p_asked.expected_monthly_usd <= o.monthly_cap_usd
      AND make_interval(hours => 24 * p_asked.duration_days) <= o.expires_at - o.starts_at)
$$;

CREATE OR REPLACE FUNCTION approvals_request_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  movable text[] := '{status,stage_index,stage_began_at,decided_at,closed_reason,key_id,reminders,by_rule}';
  amendable text[] := '{revision,model_ids,reason,ticket,duration_days,expected_monthly_usd,policy_id,team_id,decide_by,revised_at}';
  last_stage int;
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.status <> 'pending' OR NEW.revision <> 1 OR NEW.stage_index <> 0 OR NEW.key_id IS NOT NULL THEN
      PERFORM approvals_refuse('request_starts_pending', 'a request starts pending, at its first revision and stage');
    END IF;
    NEW.revised_at := coalesce(NEW.revised_at, NEW.created_at);
    NEW.team_id := coalesce(NEW.team_id, (SELECT team_id FROM teams_project WHERE id = NEW.project_id));
    IF NEW.kind = 'extension' AND NOT EXISTS (
      SELECT FROM keys_grant g JOIN keys_apikey k ON k.id = g.key_id
      WHERE g.id = NEW.extends_grant_id AND g.tier_id = NEW.tier_id AND g.key_id = NEW.extends_key_id
        AND k.owner_id = NEW.beneficiary_id AND k.project_id = NEW.project_id AND NEW.decide_by <= g.expires_at) THEN
      PERFORM approvals_refuse('request_extends_its_own_grant', 'an extension is of a grant of the same person, tier and key, and is decided before that ends');
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
    IF NEW.kind = 'extension' AND NEW.decide_by > (SELECT expires_at FROM keys_grant WHERE id = NEW.extends_grant_id) THEN
      PERFORM approvals_refuse('request_extends_its_own_grant', 'an extension is decided before its grant ends');
    END IF;
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
     OR (NEW.status = 'approved' AND NOT NEW.by_rule AND NOT approvals_stages_are_passed(OLD.id, OLD.revision, last_stage)) THEN
    PERFORM approvals_refuse('request_approved_has_its_quorum', 'an approval needs every quorum, and names its key');
  END IF;
  IF NEW.by_rule AND (NEW.status <> 'approved' OR NOT approvals_rule_may_extend(OLD)) THEN
    PERFORM approvals_refuse('request_rule_extends_tier_2_alone', 'a rule approves nothing but an equal extension in Tier 2 that a human approved not long ago');
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

CREATE OR REPLACE FUNCTION approvals_decision_may_count() RETURNS trigger LANGUAGE plpgsql AS $$
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
  IF NEW.on_behalf_of_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM approvals_delegation l WHERE l.giver_id = NEW.on_behalf_of_id AND l.taker_id = NEW.actor_id
      AND l.valid_from <= NEW.at AND l.valid_until > NEW.at) THEN
    PERFORM approvals_refuse('decision_for_another_has_a_delegation', 'who decides for another has his delegation at that moment');
  END IF;
  IF NEW.duration_days > asked.duration_days OR NEW.monthly_cap_usd > asked.expected_monthly_usd THEN
    PERFORM approvals_refuse('decision_only_lowers', 'an approver may lower the cap and the duration, never raise them');
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION approvals_grant_was_approved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  asked approvals_accessrequest;
  owner bigint;
  project bigint;
  most_days int;
  most_usd numeric;
BEGIN
  IF EXISTS (
    SELECT FROM approvals_accessrequest r JOIN approvals_policy p ON p.id = r.policy_id JOIN keys_apikey k ON k.id = NEW.key_id
    WHERE r.public_id = NEW.source_request AND r.kind = 'break_glass' AND NEW.tier_id = r.tier_id
      AND NEW.granted_by_id = r.requester_id AND k.owner_id = r.beneficiary_id AND k.project_id = r.project_id
      AND NEW.starts_at >= r.created_at AND NEW.starts_at <= r.created_at + interval '5 minutes'
      AND NEW.monthly_cap_usd <= least(p.break_glass_cap_usd, r.expected_monthly_usd)
      AND NEW.expires_at - NEW.starts_at <= make_interval(hours => p.break_glass_hours)
      AND (r.model_ids = '{}' OR (NEW.model_ids <> '{}' AND NEW.model_ids <@ r.model_ids))) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO asked FROM approvals_accessrequest WHERE public_id = NEW.source_request AND status = 'approved';
  IF NOT FOUND OR NOT (asked.by_rule OR approvals_stages_are_passed(asked.id, asked.revision, asked.stage_index)) THEN
    PERFORM approvals_refuse('grant_was_approved', 'a grant comes from an approved request with every quorum');
  END IF;
  IF asked.kind = 'extension' AND NOT EXISTS (
    SELECT FROM keys_grant o WHERE o.id = asked.extends_grant_id AND o.id = NEW.supersedes_id AND o.revoked_at IS NULL
      AND NEW.starts_at = o.expires_at) THEN
    PERFORM approvals_refuse('grant_extends_without_a_gap', 'an extension begins where the grant that it extends ends');
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
     OR NOT EXISTS (SELECT FROM approvals_decision d WHERE NOT asked.by_rule AND d.request_id = asked.id
                    AND d.revision = asked.revision AND d.verdict = 'approve' AND d.actor_id = NEW.granted_by_id
                    UNION ALL SELECT FROM keys_grant o WHERE asked.by_rule AND o.id = asked.extends_grant_id
                    AND o.granted_by_id = NEW.granted_by_id) THEN
    PERFORM approvals_refuse('grant_is_within_what_was_approved', 'a grant stays within the key, tier, models, cap and days that were approved');
  END IF;
  RETURN NULL;
END $$;

-- What is lent is held by whoever lends it, and can only be shortened.
CREATE FUNCTION approvals_delegation_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NOT EXISTS (SELECT FROM teams_roleassignment r JOIN teams_user u ON u.id = r.user_id AND u.is_active
                   WHERE r.user_id = NEW.giver_id AND r.role = NEW.role AND r.team_id IS NOT DISTINCT FROM NEW.team_id
                     AND r.department_id IS NOT DISTINCT FROM NEW.department_id
                     AND r.valid_from <= NEW.created_at AND (r.valid_until IS NULL OR r.valid_until > NEW.created_at)) THEN
      PERFORM approvals_refuse('delegation_is_of_a_role_held', 'only who holds a role lends it: a delegate has nothing to lend on');
    END IF;
    RETURN NEW;
  END IF;
  IF TG_OP = 'DELETE' OR NEW.valid_until > OLD.valid_until
     OR (to_jsonb(NEW) - '{valid_until,ended_by_id}'::text[]) IS DISTINCT FROM (to_jsonb(OLD) - '{valid_until,ended_by_id}'::text[]) THEN
    PERFORM approvals_refuse('delegation_only_shrinks', 'a delegation ends earlier or stays as it is');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER delegation_is_sound BEFORE INSERT OR UPDATE OR DELETE ON approvals_delegation
  FOR EACH ROW EXECUTE FUNCTION approvals_delegation_is_sound();
CREATE TRIGGER delegation_is_not_truncated BEFORE TRUNCATE ON approvals_delegation FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

CREATE TRIGGER comment_is_append_only BEFORE UPDATE OR DELETE ON approvals_comment FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER comment_is_not_truncated BEFORE TRUNCATE ON approvals_comment FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
