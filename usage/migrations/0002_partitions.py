from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP FUNCTION usage_make_partitions(date, date);
CREATE TABLE usage_event_plain (LIKE usage_event INCLUDING ALL);
INSERT INTO usage_event_plain SELECT * FROM usage_event;
DROP TABLE usage_event;
ALTER TABLE usage_event_plain RENAME TO usage_event;
CREATE TABLE usage_gateway_call_plain (LIKE usage_gateway_call INCLUDING ALL);
INSERT INTO usage_gateway_call_plain SELECT * FROM usage_gateway_call;
DROP TABLE usage_gateway_call;
ALTER TABLE usage_gateway_call_plain RENAME TO usage_gateway_call;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_initial")]
    operations = [sql_beside(__file__, undo=UNDO)]
