from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION gateway_poll_leases(jsonb, text, jsonb);
CREATE FUNCTION gateway_poll_leases(p_call jsonb, p_node text) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
  IF gateway_use_nonces(jsonb_build_array(p_call)) <> '{}' THEN RETURN NULL; END IF;
  RETURN ARRAY(SELECT gateway_recalled(p_call->>'source', p_node));
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("gateway", "0010_blocked_by")]
    operations = [sql_beside(__file__, undo=UNDO)]
