from pathlib import Path

from django.db import migrations

from core.sql import functions_again

# The rule goes on from what was asked for and approved, never from an emergency, and lengthens nothing.
AGAIN = functions_again(
    Path(__file__).with_name("0006_request_life_guards.sql"), only={"approvals_rule_may_extend"}
)


class Migration(migrations.Migration):
    dependencies = [("approvals", "0012_stage_clock")]
    operations = [migrations.RunSQL(AGAIN, migrations.RunSQL.noop)]
