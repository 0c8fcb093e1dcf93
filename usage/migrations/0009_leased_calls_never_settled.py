from django.db import migrations

from core.sql import functions_of, sql_beside

UNDO = functions_of(__file__, "0006_leases")


class Migration(migrations.Migration):
    dependencies = [("usage", "0008_engine"), ("budgets", "0010_lease_wish")]
    operations = [sql_beside(__file__, undo=UNDO)]
