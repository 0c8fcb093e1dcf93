from pathlib import Path

from django.db import migrations

from core.sql import functions_again, sql_beside

RULES = functions_again(Path(__file__).with_name("0004_rules.sql"))
UNDO = """
DROP TRIGGER budgets_follow ON teams_project;
DROP TRIGGER budgets_follow ON teams_team;
DROP FUNCTION budgets_follow_the_scope();
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0014_path")]
    operations = [
        migrations.RunSQL(RULES, migrations.RunSQL.noop),
        sql_beside(__file__, undo=UNDO),
    ]
