-- A key is found by its secret, and by the one before it until its overlap ends; leases that were opened under that one are recalled then.
-- The two functions are large and this is a line in each, so the line alone is replaced; a function without it stops the migration.
DO $$
DECLARE
  change record;
  body text;
BEGIN
  FOR change IN SELECT * FROM (VALUES
    ('gateway_callers(jsonb, timestamptz)',
     '(SELECT a.* FROM keys_apikey a WHERE a.secret_hmac = ANY (c.digests) LIMIT 1)',
     '(SELECT a.* FROM keys_apikey a WHERE a.secret_hmac = ANY (c.digests)'
     ' UNION ALL SELECT a.* FROM keys_apikey a WHERE a.previous_hmac = ANY (c.digests) AND a.previous_until > p_now LIMIT 1)'),
    ('gateway_recalled(text, text)',
     'OR NOT EXISTS (SELECT FROM catalog_llmmodel m ',
     'OR EXISTS (SELECT FROM keys_apikey k WHERE k.id = l.key_id AND k.previous_until BETWEEN l.opened_at AND clock_timestamp())'
     ' OR NOT EXISTS (SELECT FROM catalog_llmmodel m ')
  ) AS changes (name, before, after) LOOP
    body := pg_get_functiondef(change.name::regprocedure);
    IF position(change.before IN body) = 0 THEN RAISE EXCEPTION '% does not read keys as expected', change.name; END IF;
    EXECUTE replace(body, change.before, change.after);
  END LOOP;
END $$;
