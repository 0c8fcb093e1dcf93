from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# Of a key that is not valid the reason is counted, also where its secret was replaced.
CALLERS = functions_again(Path(__file__).with_name("0003_batches.sql"), only={"gateway_callers"})
AUTHORIZE = functions_again(Path(__file__).with_name("0009_standings.sql"), only={"gateway_authorize"})


class Migration(migrations.Migration):
    dependencies = [("gateway", "0019_spent_for_leases")]
    operations = [migrations.RunSQL([CALLERS, AUTHORIZE], migrations.RunSQL.noop)]
