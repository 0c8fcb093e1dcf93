from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# The later file has today's text of a function of the earlier one.
AGAIN = "\n".join(
    functions_again(Path(__file__).with_name(name))
    for name in ("0005_open_window.sql", "0009_carry_over_skipped_windows.sql")
)


class Migration(migrations.Migration):
    dependencies = [("budgets", "0013_entry_of_a_prior_period")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
