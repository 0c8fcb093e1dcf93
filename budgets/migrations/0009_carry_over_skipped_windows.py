from django.db import migrations

from core.sql import functions_of, sql_beside


class Migration(migrations.Migration):
    dependencies = [("budgets", "0008_windows")]
    operations = [sql_beside(__file__, undo=functions_of(__file__, "0005_open_window"))]
