from pathlib import Path

from django.db import migrations

from core.sql import functions_again

AGAIN = functions_again(Path(__file__).with_name("0026_narrow.sql"))


class Migration(migrations.Migration):
    dependencies = [("usage", "0033_pace")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
