from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# gateway_lease of that file is replaced by a later one.
AGAIN = functions_again(Path(__file__).with_name("0004_leases.sql"), only=["gateway_recalled"])


class Migration(migrations.Migration):
    dependencies = [("gateway", "0017_opens_at")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
