from django.db import migrations

from core.sql import sql_beside

UNDO = """
DROP TRIGGER audit_is_append_only ON core_auditevent;
DROP TRIGGER audit_is_not_truncated ON core_auditevent;
DROP FUNCTION core_append_only();
DROP FUNCTION core_round_half_even(numeric, int);
"""


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]
    operations = [sql_beside(__file__, undo=UNDO)]
