DROP FUNCTION gateway_poll_leases(jsonb, text);

-- The signed form, for a node that asks twice a second: a signature is used up, then the ids of the leases that must stop. `p_allowed` are calls in flight that the node
-- allowed under its leases, as a settlement tells of them: each gets a hold of its own, so that its node may be lost with all that it wrote down.
CREATE FUNCTION gateway_poll_leases(p_call jsonb, p_node text, p_allowed jsonb DEFAULT '[]') RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
  IF gateway_use_nonces(jsonb_build_array(p_call)) <> '{}' THEN RETURN NULL; END IF;
  IF p_allowed <> '[]' THEN
    -- In one order, before the draw locks some of them and the recall others.
    PERFORM 1 FROM budgets_lease x WHERE x.id IN (
        SELECT o.id FROM budgets_lease o WHERE o.source = p_call->>'source' AND o.node = p_node AND o.closed_at IS NULL
        UNION SELECT o.id FROM jsonb_to_recordset(p_allowed) AS told (lease text) JOIN budgets_lease o ON o.public_id = told.lease AND o.source = p_call->>'source')
      ORDER BY x.id FOR NO KEY UPDATE;
    PERFORM usage_draw(p_allowed);
  END IF;
  RETURN ARRAY(SELECT gateway_recalled(p_call->>'source', p_node));
END $$;
