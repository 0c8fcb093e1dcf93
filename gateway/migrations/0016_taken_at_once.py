from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# What a batch asks for is taken by the statement that sees whether it is there (docs/adr/0027).
HERE = Path(__file__)
AGAIN = "\n".join(
    functions_again(HERE.with_name(name)) for name in ("0003_batches.sql", "0009_standings.sql")
)


class Migration(migrations.Migration):
    dependencies = [("gateway", "0015_hold_of_a_route")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
