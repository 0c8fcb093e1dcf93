from pathlib import Path

from django.db import migrations, models

from core.sql import functions_again, sql_beside

# Usage that a gateway told keeps the service class it was priced in, and is priced again in it.
AGAIN = [
    functions_again(Path(__file__).with_name("0014_import.sql")),
    functions_again(Path(__file__).with_name("0019_repricing.sql")),
    functions_again(Path(__file__).with_name("0026_narrow.sql"), only={"usage_event_write"}),
]


class Migration(migrations.Migration):
    dependencies = [("usage", "0041_balances_last")]
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.AddField("storedcall", "context", models.TextField(null=True))],
            # The view keeps it, so it stays when this is undone.
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE usage_call ADD COLUMN IF NOT EXISTS context text", migrations.RunSQL.noop
                )
            ],
        ),
        sql_beside(__file__, undo=migrations.RunSQL.noop),
        *(migrations.RunSQL(text, migrations.RunSQL.noop) for text in AGAIN),
    ]
