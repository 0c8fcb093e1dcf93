from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# A lease that is refused because its key is not valid any more is counted, as a call is.
AGAIN = functions_again(Path(__file__).with_name("0006_lease_wishes.sql"), only={"gateway_lease"})


class Migration(migrations.Migration):
    dependencies = [("gateway", "0020_why_a_key_is_not_valid"), ("usage", "0022_blocked_by")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
