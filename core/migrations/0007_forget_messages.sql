-- Messages are kept for a while after they ended, and those that were given up until somebody looked at them. A message of a daily mail ended with that
-- mail. The month that is the least is the database's own, whatever the setting says: who deletes is the role that serves.
CREATE FUNCTION core_message_ended_at(p_message core_outbox) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT coalesce(p_message.delivered_at, p_message.dropped_at, p_message.put_aside_at, (
    SELECT coalesce(d.delivered_at, d.dropped_at, d.put_aside_at) FROM core_outbox d WHERE d.id = p_message.digest_id))
$$;

CREATE FUNCTION core_message_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  message core_outbox := OLD;
BEGIN
  IF coalesce(core_message_ended_at(message) > statement_timestamp() - interval '30 days', true) THEN
    RAISE EXCEPTION 'a message is kept until it ended and for a month' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN OLD;
END $$;
CREATE TRIGGER message_is_kept BEFORE DELETE ON core_outbox FOR EACH ROW EXECUTE FUNCTION core_message_is_kept();
CREATE TRIGGER message_is_not_truncated BEFORE TRUNCATE ON core_outbox FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

CREATE FUNCTION core_attempt_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  message core_outbox;
BEGIN
  SELECT * INTO message FROM core_outbox WHERE id = OLD.message_id;
  IF coalesce(core_message_ended_at(message) > statement_timestamp() - interval '30 days', true) THEN
    RAISE EXCEPTION 'an attempt is kept as long as its message' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN OLD;
END $$;
DROP TRIGGER delivery_attempt_is_append_only ON core_deliveryattempt;
CREATE TRIGGER delivery_attempt_is_append_only BEFORE UPDATE ON core_deliveryattempt FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER delivery_attempt_is_kept BEFORE DELETE ON core_deliveryattempt FOR EACH ROW EXECUTE FUNCTION core_attempt_is_kept();

-- Delete up to `p_most` messages that ended before a moment, with their attempts; return how many. A daily mail goes after what it held.
CREATE FUNCTION core_forget_messages(p_before timestamptz, p_most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  old bigint[];
BEGIN
  SELECT array_agg(id) INTO old FROM (
    SELECT m.id FROM core_outbox m
    WHERE m.created_at < p_before AND core_message_ended_at(m) < least(p_before, statement_timestamp() - interval '30 days')
      AND NOT EXISTS (SELECT FROM core_outbox i WHERE i.digest_id = m.id)
    ORDER BY m.id LIMIT p_most FOR UPDATE SKIP LOCKED) AS found;
  DELETE FROM core_deliveryattempt WHERE message_id = ANY (old);
  DELETE FROM core_outbox WHERE id = ANY (old);
  RETURN coalesce(cardinality(old), 0);
END $$;
