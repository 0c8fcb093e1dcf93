from pathlib import Path

from django.db import migrations

from core.sql import functions_again

AGAIN = functions_again(Path(__file__).with_name("0005_open_window.sql"))


class Migration(migrations.Migration):
    dependencies = [("budgets", "0013_entry_of_a_prior_period")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
