CREATE TRIGGER audit_seal_is_append_only BEFORE UPDATE OR DELETE ON core_auditseal FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER audit_seal_is_not_truncated BEFORE TRUNCATE ON core_auditseal FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
ALTER TABLE core_auditseal ADD CONSTRAINT audit_seal_marks_each_event CHECK (octet_length(marks) = 40 * events);
ALTER TABLE core_auditseal ADD CONSTRAINT audit_seal_head_is_an_hmac CHECK (head ~ '^[0-9a-f]{64}$');

-- The last event below which none can appear any more: the lock waits for whoever has an id and has not committed.
-- It runs as the owner of the table, because only who may change rows may lock them out.
CREATE FUNCTION core_audit_horizon() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  LOCK TABLE core_auditevent IN SHARE MODE;
  RETURN (SELECT coalesce(max(id), 0) FROM core_auditevent);
END $$;
