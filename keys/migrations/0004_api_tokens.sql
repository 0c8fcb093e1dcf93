-- A token keeps its owner; it never gets a scope more, its secret is made once, revocation is final, and its end may only come nearer.
CREATE FUNCTION keys_apitoken_is_sound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR NEW.owner_id <> OLD.owner_id OR NEW.public_id <> OLD.public_id OR NEW.created_at <> OLD.created_at
     OR NEW.expires_at > OLD.expires_at OR NOT NEW.scopes <@ OLD.scopes
     OR (OLD.secret_hmac IS NOT NULL AND NEW.secret_hmac IS DISTINCT FROM OLD.secret_hmac)
     OR (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at OR NEW.revoked_by_id IS DISTINCT FROM OLD.revoked_by_id
         OR NEW.revoked_reason <> OLD.revoked_reason)) THEN
    RAISE EXCEPTION 'a token keeps its owner and secret, never gets more scopes, and may only end sooner' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER api_token_is_sound BEFORE UPDATE OR DELETE ON keys_apitoken FOR EACH ROW EXECUTE FUNCTION keys_apitoken_is_sound();
ALTER TABLE keys_apitoken ADD CONSTRAINT api_token_digest_is_whole CHECK (secret_hmac IS NULL OR octet_length(secret_hmac) = 32);
