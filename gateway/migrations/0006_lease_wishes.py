from django.db import migrations

from core.sql import functions_of, sql_beside


class Migration(migrations.Migration):
    dependencies = [("gateway", "0005_engine"), ("budgets", "0010_lease_wish")]
    operations = [sql_beside(__file__, undo=functions_of(__file__, "0004_leases"))]
