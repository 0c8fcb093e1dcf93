from pathlib import Path

from django.db import migrations

from core.sql import sql_beside

# The same the other way round.
UNDO = (
    Path(__file__)
    .with_suffix(".sql")
    .read_text(encoding="utf-8")
    .replace("(name, before, after)", "(name, after, before)")
)


class Migration(migrations.Migration):
    dependencies = [("gateway", "0005_engine"), ("keys", "0003_rotation")]
    operations = [sql_beside(__file__, undo=UNDO)]
