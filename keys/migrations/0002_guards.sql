-- A key keeps its project and owner; its secret is made once; revocation is final; its end may only come nearer.
CREATE FUNCTION keys_apikey_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.project_id <> OLD.project_id OR NEW.owner_id <> OLD.owner_id OR NEW.public_id <> OLD.public_id
     OR NEW.created_at <> OLD.created_at OR NEW.expires_at > OLD.expires_at
     OR (OLD.secret_hmac IS NOT NULL AND NEW.secret_hmac IS DISTINCT FROM OLD.secret_hmac)
     OR (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at OR NEW.revoked_by_id IS DISTINCT FROM OLD.revoked_by_id
         OR NEW.revoked_reason <> OLD.revoked_reason)) THEN
    RAISE EXCEPTION 'a key keeps its project, owner and secret, and may only end sooner' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER key_is_sound BEFORE UPDATE OR DELETE ON keys_apikey FOR EACH ROW EXECUTE FUNCTION keys_apikey_is_sound();

-- A grant may only shrink: end sooner, be revoked once, lose models, get a lower cap.
CREATE FUNCTION keys_grant_only_shrinks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.key_id <> OLD.key_id OR NEW.tier_id <> OLD.tier_id OR NEW.source_request <> OLD.source_request
     OR NEW.granted_by_id <> OLD.granted_by_id OR NEW.starts_at < OLD.starts_at OR NEW.expires_at > OLD.expires_at
     OR (OLD.model_ids <> '{}' AND (NEW.model_ids = '{}' OR NOT NEW.model_ids <@ OLD.model_ids))
     OR (OLD.monthly_cap_usd IS NOT NULL AND (NEW.monthly_cap_usd IS NULL OR NEW.monthly_cap_usd > OLD.monthly_cap_usd))
     OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) THEN
    RAISE EXCEPTION 'a grant may only shrink: ask anew instead' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER grant_only_shrinks BEFORE UPDATE OR DELETE ON keys_grant FOR EACH ROW EXECUTE FUNCTION keys_grant_only_shrinks();
ALTER TABLE keys_apikey ADD CONSTRAINT key_digest_is_whole CHECK (secret_hmac IS NULL OR octet_length(secret_hmac) = 32);
