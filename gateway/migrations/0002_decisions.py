from django.db import migrations

from core.sql import sql_beside


class Migration(migrations.Migration):
    """Prepares the table of nonces; the decision functions that it also made are replaced by 0003."""

    dependencies = [
        ("gateway", "0001_initial"),
        ("usage", "0003_settle"),
        ("keys", "0001_initial"),
    ]
    operations = [sql_beside(__file__, undo="DROP INDEX gateway_used_nonce_by_time;")]
