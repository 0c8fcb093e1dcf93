from pathlib import Path

from django.db import migrations

from core.sql import functions_again

BESIDE = Path(__file__)
AGAIN = "\n".join(
    functions_again(BESIDE.with_name(name)) for name in ("0005_settle.sql", "0021_put_right.sql")
)


class Migration(migrations.Migration):
    dependencies = [("usage", "0027_names"), ("budgets", "0014_path")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
