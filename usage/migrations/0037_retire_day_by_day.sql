-- Recounts one of the organisation's days and writes down of how many rows it agreed; gives how many sums differ. Nothing is booked meanwhile into `p_month`, the one to retire. Rows are
-- never changed or deleted: as long as there are as many of a day, it agrees.
CREATE FUNCTION usage_recount_day(p_day date, p_month date, p_zone text) RETURNS bigint LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  v_event text := 'usage_call' || to_char(p_month, '_YYYY_MM');
  v_rows bigint;
  v_differing bigint;
BEGIN
  IF to_regclass(v_event) IS NULL OR (p_month + interval '1 month') AT TIME ZONE 'UTC' > clock_timestamp() - interval '2 months' THEN
    RAISE EXCEPTION 'only the days of an old month are recounted to retire it';
  END IF;
  EXECUTE format('LOCK TABLE %I IN SHARE MODE', v_event);
  SELECT count(*) INTO v_differing FROM usage_recount(p_day, p_day, p_zone);
  DELETE FROM usage_recounted_day WHERE month = p_month AND day = p_day;
  IF v_differing = 0 THEN
    EXECUTE format('SELECT count(*) FROM %I WHERE at >= $1::timestamp AT TIME ZONE $2 AND at < ($1 + 1)::timestamp AT TIME ZONE $2', v_event) INTO v_rows USING p_day, p_zone;
    INSERT INTO usage_recounted_day (month, day, zone, rows) VALUES (p_month, p_day, p_zone, v_rows);
  END IF;
  RETURN v_differing;
END $$;

-- Drops the single calls of the oldest month that there is, both sides of them, when each of its days was recounted with as many rows as it has: `retired`. Otherwise nothing is
-- dropped, and the answer says why: `missing`, `young` (it ended less than two months ago), `not_oldest`, `open` (a call of it may still settle), `not_recounted`.
CREATE OR REPLACE FUNCTION usage_retire_month(p_month date, p_zone text) RETURNS text LANGUAGE plpgsql SET jit = off AS $$
DECLARE
  v_month date := date_trunc('month', p_month::timestamp)::date;
  v_start timestamptz := v_month::timestamp AT TIME ZONE 'UTC';
  v_end timestamptz := (v_month + interval '1 month') AT TIME ZONE 'UTC';
  v_event text := 'usage_call' || to_char(v_month, '_YYYY_MM');
  v_call text := 'usage_gateway_call' || to_char(v_month, '_YYYY_MM');
  v_calls bigint;
  v_cost numeric;
  v_days date[];
  v_rows bigint[];
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('usage_retire', 0));
  IF to_regclass(v_event) IS NULL THEN RETURN 'missing'; END IF;
  IF v_end > clock_timestamp() - interval '2 months' THEN RETURN 'young'; END IF;
  IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage_call'::regclass AND c.relname < v_event) THEN RETURN 'not_oldest'; END IF;
  IF EXISTS (SELECT FROM budgets_reservation WHERE state = 'open' AND authorized_at < v_end) THEN RETURN 'open'; END IF;
  EXECUTE format('LOCK TABLE %I IN SHARE MODE', v_event);  -- nothing is booked between the look at the rows and the end
  EXECUTE format('SELECT coalesce(sum(calls), 0), coalesce(sum(cost_usd), 0), array_agg(day), array_agg(rows)
    FROM (SELECT (at AT TIME ZONE $1)::date AS day, sum(calls) AS calls, sum(cost_usd) AS cost_usd, count(*) AS rows FROM %I GROUP BY 1) days', v_event)
    INTO v_calls, v_cost, v_days, v_rows USING p_zone;
  DELETE FROM usage_recounted_day r WHERE r.month = v_month
    AND (r.zone <> p_zone OR r.rows <> coalesce((SELECT d.rows FROM unnest(v_days, v_rows) AS d (day, rows) WHERE d.day = r.day), 0));
  IF EXISTS (SELECT FROM generate_series((v_start AT TIME ZONE p_zone)::date, ((v_end - interval '1 microsecond') AT TIME ZONE p_zone)::date, interval '1 day') AS d (day)
    WHERE NOT EXISTS (SELECT FROM usage_recounted_day r WHERE r.month = v_month AND r.day = d.day::date)) THEN RETURN 'not_recounted'; END IF;
  INSERT INTO usage_retired_month (month, calls, cost_usd, retired_at) VALUES (v_month, v_calls, v_cost, clock_timestamp());
  DELETE FROM usage_recounted_day WHERE month <= v_month;
  EXECUTE format('ALTER TABLE usage_call DETACH PARTITION %I', v_event);
  EXECUTE format('DROP TABLE %I', v_event);
  IF to_regclass(v_call) IS NOT NULL THEN
    EXECUTE format('ALTER TABLE usage_gateway_call DETACH PARTITION %I', v_call);
    EXECUTE format('DROP TABLE %I', v_call);
  END IF;
  RETURN 'retired';
END $$;
