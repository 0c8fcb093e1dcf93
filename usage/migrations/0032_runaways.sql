-- The breaker: a key that spends far faster than its budget or its past allows is suspended by the statement that books the call. docs/adr/0024 has the rule and what was measured.
ALTER TABLE usage_key_minute SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- How fast a key spends, in US dollars, and why that is too fast; `cause` is null while it is not.
CREATE TYPE usage_key_pace AS (
  cause text,                 -- of keys_suspension
  five_minutes_usd numeric,
  half_hour_usd numeric,
  hour_usd numeric,
  six_hours_usd numeric,
  budget_id bigint,           -- the tightest of the key's path, for windows of a week or longer
  budget_usd_an_hour numeric, -- what it allows for an hour, all hours alike
  busiest_hour_usd numeric,   -- the 99.9th percentile of the hours of four weeks; null for a key that has less than a week of them
  most_usd_an_hour numeric,
  is_planned boolean
);

-- Of calls that were authorised in the last minutes: those before the key was last resumed, and those of planned activities, are not held against it.
CREATE FUNCTION usage_pace_of_key(p_key bigint, p_now timestamptz) RETURNS usage_key_pace LANGUAGE plpgsql STABLE AS $$
DECLARE
  r usage_key_pace;
  v_minute timestamptz := date_trunc('minute', p_now);
  v_resumed_at timestamptz;
  v_planned_usd numeric;
  v_first timestamptz;
BEGIN
  SELECT max(s.resumed_at) INTO v_resumed_at FROM keys_suspension s WHERE s.key_id = p_key;
  SELECT max(a.most_usd_an_hour) INTO v_planned_usd FROM keys_plannedactivity a WHERE a.key_id = p_key AND a.starts_at <= p_now AND p_now < least(a.ends_at, a.cancelled_at);
  r.is_planned := v_planned_usd IS NOT NULL;

  SELECT coalesce(sum(m.cost_usd) FILTER (WHERE m.minute > v_minute - interval '5 minutes'), 0), coalesce(sum(m.cost_usd) FILTER (WHERE m.minute > v_minute - interval '30 minutes'), 0),
      coalesce(sum(m.cost_usd) FILTER (WHERE m.minute > v_minute - interval '1 hour'), 0), coalesce(sum(m.cost_usd), 0)
    INTO r.five_minutes_usd, r.half_hour_usd, r.hour_usd, r.six_hours_usd
    FROM usage_key_minute m WHERE m.key_id = p_key AND m.minute > v_minute - interval '6 hours' AND coalesce(m.minute > v_resumed_at, true)
      AND (r.is_planned OR NOT EXISTS (SELECT FROM keys_plannedactivity a WHERE a.key_id = p_key AND date_trunc('minute', a.starts_at) <= m.minute AND m.minute < least(a.ends_at, a.cancelled_at)));

  SELECT b.id, l.usd / (extract(epoch FROM w.window_end - w.window_start) / 3600) INTO r.budget_id, r.budget_usd_an_hour
    FROM keys_apikey k JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id
    CROSS JOIN LATERAL budgets_path(k.id, p.id, t.id, t.department_id, NULL, NULL) b
    CROSS JOIN LATERAL budgets_limit_at(b.id, p_now) AS l (usd) CROSS JOIN LATERAL budgets_window(b.window, b.window_anchor, b.time_zone, p_now) w
    WHERE k.id = p_key AND b.window NOT IN ('day', 'lifetime') AND l.usd > 0 ORDER BY 2, 1 LIMIT 1;

  -- Hours that were planned, and those in which the key ran away, say nothing of what is usual.
  SELECT min(h.hour), (percentile_cont(0.999) WITHIN GROUP (ORDER BY h.cost_usd) FILTER (WHERE h.is_usual))::numeric INTO v_first, r.busiest_hour_usd
    FROM (SELECT x.hour, x.cost_usd,
            NOT EXISTS (SELECT FROM keys_plannedactivity a WHERE a.key_id = p_key AND a.starts_at < x.hour + interval '1 hour' AND x.hour < least(a.ends_at, a.cancelled_at))
            AND NOT EXISTS (SELECT FROM keys_suspension s WHERE s.key_id = p_key AND s.cause <> 'person' AND s.suspended_at - interval '6 hours' < x.hour + interval '1 hour' AND x.hour <= s.suspended_at)
            AS is_usual
          FROM usage_key_hour x WHERE x.key_id = p_key AND x.hour >= p_now - interval '28 days') h;
  IF v_first IS NULL OR v_first > p_now - interval '7 days' THEN
    r.busiest_hour_usd := NULL;
  END IF;
  -- A new key may take a twentieth of its month in an hour.
  r.most_usd_an_hour := coalesce(v_planned_usd, greatest(10, CASE WHEN r.busiest_hour_usd IS NULL THEN 0.05 * 720 * r.budget_usd_an_hour ELSE 3 * r.busiest_hour_usd END));

  r.cause := CASE
    WHEN r.is_planned THEN CASE WHEN r.hour_usd > r.most_usd_an_hour THEN 'plan' END
    WHEN r.hour_usd > r.most_usd_an_hour THEN 'velocity'
    WHEN r.hour_usd > greatest(10, 14.4 * r.budget_usd_an_hour) AND 12 * r.five_minutes_usd > 14.4 * r.budget_usd_an_hour AND r.budget_id IS NOT NULL THEN 'burn_hour'
    WHEN r.six_hours_usd > greatest(10, 6 * 6 * r.budget_usd_an_hour) AND 2 * r.half_hour_usd > 6 * r.budget_usd_an_hour AND r.budget_id IS NOT NULL THEN 'burn_six_hours' END;
  RETURN r;
END $$;

-- Suspends those of the keys that run away, with the evidence and the audit row of it, and returns how many. One that somebody holds locked is looked at again with the next minute.
CREATE FUNCTION usage_stop_runaways(p_keys bigint[], p_now timestamptz) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  q record;
  v_reason text;
  v_stopped int := 0;
BEGIN
  FOR q IN
    SELECT k.id, k.public_id, k.name, p.team_id, t.department_id, pace.*, b.public_id AS budget
      FROM (SELECT m.key_id FROM usage_key_minute m WHERE m.key_id = ANY (p_keys) AND m.minute > p_now - interval '6 hours' GROUP BY 1 HAVING sum(m.cost_usd) > 10) fast
      JOIN keys_apikey k ON k.id = fast.key_id AND k.suspended_at IS NULL AND k.revoked_at IS NULL JOIN teams_project p ON p.id = k.project_id JOIN teams_team t ON t.id = p.team_id
      CROSS JOIN LATERAL usage_pace_of_key(k.id, p_now) pace LEFT JOIN budgets_budget b ON b.id = pace.budget_id
      WHERE pace.cause IS NOT NULL ORDER BY k.id
  LOOP
    PERFORM FROM keys_apikey k WHERE k.id = q.id AND k.suspended_at IS NULL AND k.revoked_at IS NULL FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    v_reason := CASE q.cause
      WHEN 'burn_six_hours' THEN format('it spent $%s in six hours, more than 6 times what its tightest budget allows for them', round(q.six_hours_usd, 2))
      ELSE format('it spent $%s within an hour, more than ', round(q.hour_usd, 2)) || CASE q.cause
        WHEN 'burn_hour' THEN '14.4 times what its tightest budget allows for one'
        WHEN 'plan' THEN format('the $%s that were planned', round(q.most_usd_an_hour, 2))
        ELSE CASE WHEN q.busiest_hour_usd IS NULL THEN format('the $%s that a new key may', round(q.most_usd_an_hour, 2))
                  ELSE format('$%s, the most by its busiest hours so far', round(q.most_usd_an_hour, 2)) END END END;
    UPDATE keys_apikey SET suspended_at = p_now, suspended_reason = v_reason WHERE id = q.id;
    INSERT INTO keys_suspension (public_id, key_id, cause, reason, evidence, suspended_at, resumed_reason)
      SELECT 'sus_' || left(replace(gen_random_uuid()::text, '-', ''), 28), q.id, q.cause, v_reason,
        jsonb_build_object('five_minutes_usd', q.five_minutes_usd::text, 'half_hour_usd', q.half_hour_usd::text, 'hour_usd', q.hour_usd::text, 'six_hours_usd', q.six_hours_usd::text,
          'budget', q.budget, 'budget_usd_an_hour', round(q.budget_usd_an_hour, 12)::text, 'busiest_hour_usd', round(q.busiest_hour_usd, 12)::text, 'most_usd_an_hour', round(q.most_usd_an_hour, 12)::text,
          'minutes', (SELECT jsonb_agg(coalesce(m.cost_usd, 0)::text ORDER BY s.at)
                      FROM generate_series(date_trunc('minute', p_now) - interval '59 minutes', p_now, '1 minute') AS s (at) LEFT JOIN usage_key_minute m ON m.key_id = q.id AND m.minute = s.at)),
        p_now, '';
    INSERT INTO core_auditevent (public_id, at, action, actor_label, object_type, object_id, object_label, department_id, team_id, before, after, reason, request_id)
      VALUES ('aud_' || left(replace(gen_random_uuid()::text, '-', ''), 28), p_now, 'key.suspended', 'purser', 'keys.apikey', q.public_id, q.name, q.department_id, q.team_id,
        '{"state": "live"}', jsonb_build_object('state', 'suspended', 'cause', q.cause), v_reason, '');
    v_stopped := v_stopped + 1;
  END LOOP;
  RETURN v_stopped;
END $$;

-- Joins minutes that no rule looks at any more to their hours, forgets hours of before four weeks, and returns how many minutes it joined.
CREATE FUNCTION usage_join_minutes(p_now timestamptz) RETURNS bigint LANGUAGE sql AS $$
  WITH old AS (
    DELETE FROM usage_key_minute m WHERE m.minute < date_trunc('hour', p_now - interval '6 hours', 'UTC') RETURNING m.key_id, m.minute, m.cost_usd
  ), joined AS (
    INSERT INTO usage_key_hour AS h (key_id, hour, cost_usd) SELECT o.key_id, date_trunc('hour', o.minute, 'UTC'), sum(o.cost_usd) FROM old o GROUP BY 1, 2 ORDER BY 1, 2
      ON CONFLICT (key_id, hour) DO UPDATE SET cost_usd = h.cost_usd + excluded.cost_usd
  ), forgotten AS (
    DELETE FROM usage_key_hour h WHERE h.hour < p_now - interval '29 days'
  )
  SELECT count(*) FROM old
$$;
