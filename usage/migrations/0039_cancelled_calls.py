from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# A call whose client left before its input was counted costs its output beside its input bound.
AGAIN = functions_again(Path(__file__).with_name("0005_settle.sql"))


class Migration(migrations.Migration):
    dependencies = [("usage", "0038_unconfirmed_calls")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
