-- Calls are kept in narrow rows (docs/adr/0021). What everybody reads is the view usage_event.
SET LOCAL statement_timeout = 0;

-- How a call's name is kept: most are a UUID in one of three spellings, and take 16 bytes. `shape` says which: null is 32 hexadecimal digits, '-' has the dashes too, 'rsv_' is a
-- reservation's id, whose place in `packed` ends with the number of the source. Any other name is its own shape, and `packed` is null. A set of characters is matched six times as fast as a number of them, bytes are cut ten times as fast as text.
CREATE FUNCTION usage_packed(p_source smallint, p_name text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE length(p_name)
    WHEN 32 THEN CASE WHEN p_name !~ '[^0-9a-f]' THEN p_name::uuid
                      WHEN left(p_name, 4) = 'rsv_' AND substr(p_name, 5) !~ '[^0-9a-f]' THEN (substr(p_name, 5) || lpad(to_hex(p_source::int), 4, '0'))::uuid END
    WHEN 36 THEN CASE WHEN p_name !~ '[^0-9a-f-]' AND p_name LIKE '________-____-____-____-____________' AND length(replace(p_name, '-', '')) = 32 THEN p_name::uuid END END
$$;
CREATE FUNCTION usage_shape(p_packed uuid, p_name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN p_packed IS NULL THEN p_name WHEN p_name LIKE 'rsv%' THEN 'rsv_' WHEN length(p_name) = 36 THEN '-' END
$$;
CREATE FUNCTION usage_name(p_packed uuid, p_shape text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN p_packed IS NULL THEN p_shape WHEN p_shape IS NULL THEN encode(uuid_send(p_packed), 'hex') WHEN p_shape = '-' THEN p_packed::text
    ELSE 'rsv_' || encode(substring(uuid_send(p_packed) FROM 1 FOR 14), 'hex') END
$$;

-- What a call is unique by: 128 bits of the digest of its source and name. A reservation's id has as many of its own, and comes in the order of time: new ones lie together.
CREATE FUNCTION usage_key(p_source smallint, p_packed uuid, p_shape text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN p_shape = 'rsv_' AND p_packed IS NOT NULL THEN p_packed
    ELSE encode(substring(sha256(int2send(p_source) || coalesce('\x01' || uuid_send(p_packed), '\x00') || replace(coalesce(p_shape, ''), '\', '\\')::bytea) FROM 1 FOR 16), 'hex')::uuid END
$$;

CREATE TABLE usage_call (
  at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  reservation_id bigint,
  packed uuid,
  attribution_id int NOT NULL,
  input_tokens int NOT NULL,
  output_tokens int NOT NULL,
  cached_tokens int,
  cache_write_tokens int,
  reasoning_tokens int,
  source_id smallint NOT NULL,
  calls smallint NOT NULL,
  cache_hit boolean NOT NULL,
  estimated boolean NOT NULL,
  late boolean NOT NULL,
  cost_usd numeric(28, 12) NOT NULL,
  shape text,
  finish text,
  units jsonb,
  provider_call_id text
) PARTITION BY RANGE (at);
CREATE INDEX usage_call_by_time ON usage_call USING brin (at) WITH (pages_per_range = 32);
CREATE TRIGGER source_is_append_only BEFORE UPDATE OR DELETE ON usage_source FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER attribution_is_append_only BEFORE UPDATE OR DELETE ON usage_attribution FOR EACH ROW EXECUTE FUNCTION core_append_only();

-- The number of a source, given where it has none yet.
CREATE FUNCTION usage_source_of(p_name text) RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
  v_id smallint;
BEGIN
  SELECT s.id INTO v_id FROM usage_source s WHERE s.name = p_name;
  IF NOT FOUND THEN
    INSERT INTO usage_source (name) VALUES (p_name) ON CONFLICT DO NOTHING;
    SELECT s.id INTO v_id FROM usage_source s WHERE s.name = p_name;
  END IF;
  RETURN v_id;
END $$;

-- The number of an attribution, given where it has none yet. It locks nobody and waits for nobody; two who write the same at the same time give it a number each.
CREATE FUNCTION usage_attribution_of(p_key bigint, p_owner bigint, p_project bigint, p_team bigint, p_department bigint, p_model bigint, p_tier int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  v_id int;
BEGIN
  SELECT a.id INTO v_id FROM usage_attribution a WHERE a.key_id = p_key AND a.model_id = p_model
    AND a.owner_id = p_owner AND a.project_id = p_project AND a.team_id = p_team AND a.department_id = p_department AND a.tier_id = p_tier ORDER BY a.id LIMIT 1;
  IF NOT FOUND THEN
    INSERT INTO usage_attribution (key_id, owner_id, project_id, team_id, department_id, model_id, tier_id)
      VALUES (p_key, p_owner, p_project, p_team, p_department, p_model, p_tier) RETURNING id INTO v_id;
  END IF;
  RETURN v_id;
END $$;

-- The key by which a call of this source and name is found: call_key of usage_event. Null where the source never told anything.
CREATE FUNCTION usage_key_of(p_source text, p_name text) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT usage_key(n.id, n.packed, usage_shape(n.packed, p_name)) FROM (SELECT s.id, usage_packed(s.id, p_name) AS packed FROM usage_source s WHERE s.name = p_source OFFSET 0) n
$$;

-- Makes the monthly tables from `p_first` to `p_last` that are missing, those of calls with their key, and returns how many it made.
CREATE OR REPLACE FUNCTION usage_make_partitions(p_first date, p_last date) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  parent text;
  month date;
  child text;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('usage_make_partitions'));
  FOREACH parent IN ARRAY ARRAY['usage_call', 'usage_gateway_call'] LOOP
    FOR month IN SELECT generate_series(date_trunc('month', p_first::timestamp), p_last::timestamp, '1 month')::date LOOP
      child := parent || to_char(month, '_YYYY_MM');
      IF to_regclass(child) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
                       month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
        IF parent = 'usage_call' THEN EXECUTE format('CREATE UNIQUE INDEX %I ON %I (usage_key(source_id, packed, shape))', child || '_key', child); END IF;
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

-- Moves what there is, a month at a time; its key is made when its rows are there. A month that has none is made when a call of it is told.
DO $$
DECLARE
  v_old text;
  v_new text;
  v_month date;
  v_any boolean;
BEGIN
  INSERT INTO usage_source (name) SELECT DISTINCT source FROM usage_event ORDER BY 1;
  INSERT INTO usage_attribution (key_id, owner_id, project_id, team_id, department_id, model_id, tier_id)
    SELECT DISTINCT key_id, owner_id, project_id, team_id, department_id, model_id, tier_id FROM usage_event ORDER BY 1, 6;
  ANALYZE usage_source, usage_attribution;
  FOR v_old, v_month IN SELECT c.relname, to_date(right(c.relname, 7), 'YYYY_MM') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage_event'::regclass ORDER BY 1 LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', v_old) INTO v_any;
    CONTINUE WHEN NOT v_any;
    PERFORM usage_make_partitions(v_month, v_month);
    v_new := 'usage_call' || to_char(v_month, '_YYYY_MM');
    EXECUTE format('DROP INDEX %I', v_new || '_key');
    EXECUTE format('INSERT INTO %I (at, recorded_at, reservation_id, packed, attribution_id, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, source_id, calls,
        cache_hit, estimated, late, cost_usd, shape, finish, units, provider_call_id)
      SELECT e.at, e.recorded_at, e.reservation_id, n.packed, a.id, e.input_tokens, e.output_tokens, nullif(e.cached_tokens, 0), nullif(e.cache_write_tokens, 0),
        nullif(e.reasoning_tokens, 0), s.id, e.calls, e.cache_hit, e.estimated, e.late, e.cost_usd, usage_shape(n.packed, e.external_id), nullif(e.finish, ''stop''), nullif(e.units, ''{}''), nullif(e.provider_call_id, '''')
      FROM %I e JOIN usage_source s ON s.name = e.source JOIN usage_attribution a USING (key_id, owner_id, project_id, team_id, department_id, model_id, tier_id)
      CROSS JOIN LATERAL (SELECT usage_packed(s.id, e.external_id) AS packed OFFSET 0) n', v_new, v_old);
    EXECUTE format('CREATE UNIQUE INDEX %I ON %I (usage_key(source_id, packed, shape))', v_new || '_key', v_new);
    EXECUTE format('DROP TABLE %I', v_old);
  END LOOP;
  PERFORM usage_make_partitions((now() - interval '62 days')::date, (now() + interval '31 days')::date);  -- the job makes those after it
END $$;
ANALYZE usage_call;

DROP FUNCTION usage_charge_of(usage_event);
DROP TABLE usage_event;
CREATE VIEW usage_event AS
  SELECT s.name AS source, usage_name(c.packed, c.shape) AS external_id, c.at, c.recorded_at, c.reservation_id, a.key_id, a.owner_id, a.project_id, a.team_id, a.department_id, a.model_id, a.tier_id,
    c.calls, c.cost_usd, c.input_tokens::bigint AS input_tokens, coalesce(c.cached_tokens, 0)::bigint AS cached_tokens, coalesce(c.cache_write_tokens, 0)::bigint AS cache_write_tokens,
    c.output_tokens::bigint AS output_tokens, coalesce(c.reasoning_tokens, 0)::bigint AS reasoning_tokens, coalesce(c.units, '{}') AS units, coalesce(c.finish, 'stop') AS finish, c.cache_hit,
    c.estimated, c.late, coalesce(c.provider_call_id, '') AS provider_call_id, usage_key(c.source_id, c.packed, c.shape) AS call_key
  FROM usage_call c LEFT JOIN usage_source s ON s.id = c.source_id LEFT JOIN usage_attribution a ON a.id = c.attribution_id;

-- Lets a row be written through the view. What books calls by the page writes usage_call itself.
CREATE FUNCTION usage_event_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  v_source smallint;
  v_packed uuid;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    DELETE FROM usage_call c WHERE usage_key(c.source_id, c.packed, c.shape) = OLD.call_key AND c.at = OLD.at;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  END IF;
  v_source := usage_source_of(NEW.source);
  v_packed := usage_packed(v_source, NEW.external_id);
  INSERT INTO usage_call (at, recorded_at, reservation_id, packed, attribution_id, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, source_id, calls, cache_hit,
      estimated, late, cost_usd, shape, finish, units, provider_call_id, context)
    VALUES (NEW.at, NEW.recorded_at, NEW.reservation_id, v_packed,
      usage_attribution_of(NEW.key_id, NEW.owner_id, NEW.project_id, NEW.team_id, NEW.department_id, NEW.model_id, NEW.tier_id), NEW.input_tokens, NEW.output_tokens, nullif(NEW.cached_tokens, 0),
      nullif(NEW.cache_write_tokens, 0), nullif(NEW.reasoning_tokens, 0), v_source, NEW.calls, NEW.cache_hit, NEW.estimated, NEW.late, NEW.cost_usd, usage_shape(v_packed, NEW.external_id), nullif(NEW.finish, 'stop'),
      nullif(NEW.units, '{}'), nullif(NEW.provider_call_id, ''), NEW.context);
  RETURN NEW;
END $$;
CREATE TRIGGER event_is_written_as_a_call INSTEAD OF INSERT OR UPDATE OR DELETE ON usage_event FOR EACH ROW EXECUTE FUNCTION usage_event_write();
