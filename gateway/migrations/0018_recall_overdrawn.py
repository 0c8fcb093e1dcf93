from django.db import migrations

from core.sql import sql_beside


class Migration(migrations.Migration):
    dependencies = [("gateway", "0017_opens_at")]
    operations = [sql_beside(__file__, undo=migrations.RunSQL.noop)]
