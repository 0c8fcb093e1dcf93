CREATE TRIGGER delivery_attempt_is_append_only BEFORE UPDATE OR DELETE ON core_deliveryattempt FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER delivery_attempt_is_not_truncated BEFORE TRUNCATE ON core_deliveryattempt FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
