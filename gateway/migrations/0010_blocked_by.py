from django.db import migrations

from core.sql import sql_beside


class Migration(migrations.Migration):
    dependencies = [("gateway", "0009_standings"), ("usage", "0022_blocked_by")]
    operations = [sql_beside(__file__, undo="DROP FUNCTION gateway_refused_by(json)")]
