-- What a call was priced in, where no reservation says so: usage that a gateway told. Calls from before have none, and count as standard, as they did.
CREATE OR REPLACE VIEW usage_event AS
  SELECT s.name AS source, usage_name(c.packed, c.shape) AS external_id, c.at, c.recorded_at, c.reservation_id, a.key_id, a.owner_id, a.project_id, a.team_id, a.department_id, a.model_id, a.tier_id,
    c.calls, c.cost_usd, c.input_tokens::bigint AS input_tokens, coalesce(c.cached_tokens, 0)::bigint AS cached_tokens, coalesce(c.cache_write_tokens, 0)::bigint AS cache_write_tokens,
    c.output_tokens::bigint AS output_tokens, coalesce(c.reasoning_tokens, 0)::bigint AS reasoning_tokens, coalesce(c.units, '{}') AS units, coalesce(c.finish, 'stop') AS finish, c.cache_hit,
    c.estimated, c.late, coalesce(c.provider_call_id, '') AS provider_call_id, usage_key(c.source_id, c.packed, c.shape) AS call_key, c.context
  FROM usage_call c LEFT JOIN usage_source s ON s.id = c.source_id LEFT JOIN usage_attribution a ON a.id = c.attribution_id;
