-- Written once, never changed: the audit, the ledger, limits and decisions share this guard.
CREATE FUNCTION core_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: write a correcting row instead', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON core_auditevent FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON core_auditevent FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();

-- Half to even, as IEEE 754 and Python's ROUND_HALF_EVEN do; PostgreSQL's round(numeric) goes away from zero.
CREATE FUNCTION core_round_half_even(p_value numeric, p_places int) RETURNS numeric LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  unit numeric := power(10::numeric, -p_places);
  low numeric := trunc(p_value, p_places);
  rest numeric := abs(p_value - low);
BEGIN
  IF rest * 2 > unit OR (rest * 2 = unit AND mod(trunc(abs(low) / unit), 2) = 1) THEN
    RETURN trunc(low + sign(p_value) * unit, p_places);
  END IF;
  RETURN low;
END $$;
