-- A key keeps its project and owner; revocation is final; its end may only come nearer. Its secret changes by a rotation that was asked for, which keeps the
-- one before for a week at most, and only while there is no live one before it: two are live at most.
CREATE OR REPLACE FUNCTION keys_apikey_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.project_id <> OLD.project_id OR NEW.owner_id <> OLD.owner_id OR NEW.public_id <> OLD.public_id
     OR NEW.created_at <> OLD.created_at OR NEW.expires_at > OLD.expires_at
     OR (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at OR NEW.revoked_by_id IS DISTINCT FROM OLD.revoked_by_id
         OR NEW.revoked_reason <> OLD.revoked_reason)) THEN
    RAISE EXCEPTION 'a key keeps its project, owner and secret, and may only end sooner' USING ERRCODE = 'restrict_violation';
  END IF;
  IF OLD.secret_hmac IS NOT NULL AND NEW.secret_hmac IS DISTINCT FROM OLD.secret_hmac THEN
    IF NEW.secret_hmac IS NULL OR OLD.rotation_asked_at IS NULL OR NEW.rotation_asked_at IS NOT NULL OR NEW.previous_hmac IS DISTINCT FROM OLD.secret_hmac
       OR OLD.previous_until > clock_timestamp() OR NEW.previous_until > clock_timestamp() + interval '7 days 15 minutes' THEN
      RAISE EXCEPTION 'a key keeps its project, owner and secret, and may only end sooner: a rotation keeps the secret before' USING ERRCODE = 'restrict_violation';
    END IF;
  ELSIF NEW.previous_hmac IS DISTINCT FROM OLD.previous_hmac OR NEW.previous_until > OLD.previous_until THEN
    RAISE EXCEPTION 'the secret before a rotation may only end sooner' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;

-- A grant may only shrink: end sooner, be revoked once, lose models, get a lower cap; what ended stays as it was.
CREATE OR REPLACE FUNCTION keys_grant_only_shrinks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.key_id <> OLD.key_id OR NEW.tier_id <> OLD.tier_id OR NEW.source_request <> OLD.source_request OR NEW.public_id <> OLD.public_id
     OR NEW.granted_by_id <> OLD.granted_by_id OR NEW.starts_at < OLD.starts_at OR NEW.expires_at > OLD.expires_at
     OR NEW.supersedes_id IS DISTINCT FROM OLD.supersedes_id OR NEW.created_at <> OLD.created_at
     OR (OLD.model_ids <> '{}' AND (NEW.model_ids = '{}' OR NOT NEW.model_ids <@ OLD.model_ids))
     OR (OLD.monthly_cap_usd IS NOT NULL AND (NEW.monthly_cap_usd IS NULL OR NEW.monthly_cap_usd > OLD.monthly_cap_usd))
     OR (OLD.revoked_at IS NOT NULL AND NEW IS DISTINCT FROM OLD) THEN
    RAISE EXCEPTION 'a grant may only shrink: ask anew instead' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
ALTER TABLE keys_apikey ADD CONSTRAINT key_previous_digest_is_whole CHECK (previous_hmac IS NULL OR octet_length(previous_hmac) = 32);
