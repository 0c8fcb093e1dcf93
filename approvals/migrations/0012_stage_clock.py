from pathlib import Path

from django.db import migrations, models

from core.sql import functions_again, sql_beside

# It lets the clock move with the stage; in a database without that column the word means nothing.
GUARDS = functions_again(Path(__file__).with_name("0006_request_life_guards.sql"))
# Each stage that waits now began with its revision, or with the last approval of the stage before.
FILL_IN = """
ALTER TABLE approvals_accessrequest DISABLE TRIGGER USER;
UPDATE approvals_accessrequest r SET stage_began_at = coalesce(
  (SELECT max(d.at) FROM approvals_decision d
   WHERE d.request_id = r.id AND d.revision = r.revision AND d.stage_index < r.stage_index AND d.at > r.revised_at),
  r.revised_at);
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE approvals_accessrequest ENABLE TRIGGER USER;
"""
UNDO = """
DROP TRIGGER request_stage_has_its_clock ON approvals_accessrequest;
DROP FUNCTION approvals_stage_has_its_clock();
"""


class Migration(migrations.Migration):
    dependencies = [("approvals", "0011_budget_request_life")]
    operations = [
        migrations.AddField(
            model_name="accessrequest",
            name="stage_began_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.RunSQL(FILL_IN, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="accessrequest", name="stage_began_at", field=models.DateTimeField()
        ),
        migrations.RunSQL(GUARDS, migrations.RunSQL.noop),
        sql_beside(__file__, undo=UNDO),
    ]
