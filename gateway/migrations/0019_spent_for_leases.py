from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# A lease that a spent budget refuses is told so, and when it opens again.
AGAIN = functions_again(Path(__file__).with_name("0006_lease_wishes.sql"))


class Migration(migrations.Migration):
    dependencies = [("gateway", "0018_recall_overdrawn")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
