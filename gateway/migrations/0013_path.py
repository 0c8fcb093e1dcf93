from pathlib import Path

from django.db import migrations

from core.sql import functions_again

AGAIN = functions_again(Path(__file__).with_name("0003_batches.sql"))


class Migration(migrations.Migration):
    dependencies = [("gateway", "0012_asked_before"), ("budgets", "0014_path")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
