-- Events and gateway calls are kept by month, so that a month can be retired as one table.
ALTER TABLE usage_event RENAME TO usage_event_plain;
CREATE TABLE usage_event (LIKE usage_event_plain INCLUDING ALL) PARTITION BY RANGE (at);
DROP TABLE usage_event_plain;
ALTER TABLE usage_gateway_call RENAME TO usage_gateway_call_plain;
CREATE TABLE usage_gateway_call (LIKE usage_gateway_call_plain INCLUDING ALL) PARTITION BY RANGE (at);
DROP TABLE usage_gateway_call_plain;

-- Makes the monthly tables from `p_first` to `p_last` that are missing and returns how many it made.
CREATE FUNCTION usage_make_partitions(p_first date, p_last date) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  month date;
  child text;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('usage_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['usage_event', 'usage_gateway_call'] LOOP
    FOR month IN SELECT generate_series(date_trunc('month', p_first::timestamp), p_last::timestamp, '1 month')::date LOOP
      child := parent || to_char(month, '_YYYY_MM');
      IF to_regclass(child) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
                       month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
SELECT usage_make_partitions((now() - interval '14 months')::date, (now() + interval '3 months')::date);
