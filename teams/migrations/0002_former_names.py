from django.db import migrations, models

APPEND_ONLY = """
CREATE TRIGGER former_name_is_append_only BEFORE UPDATE OR DELETE ON teams_formername
  FOR EACH ROW EXECUTE FUNCTION core_append_only();
CREATE TRIGGER former_name_is_not_truncated BEFORE TRUNCATE ON teams_formername
  FOR EACH STATEMENT EXECUTE FUNCTION core_append_only();
"""
UNDO = """
DROP TRIGGER former_name_is_not_truncated ON teams_formername;
DROP TRIGGER former_name_is_append_only ON teams_formername;
"""


class Migration(migrations.Migration):
    dependencies = [("teams", "0001_initial"), ("core", "0002_append_only")]

    operations = [
        migrations.CreateModel(
            name="FormerName",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("department", "Department"), ("team", "Team"), ("project", "Project")],
                        max_length=10,
                    ),
                ),
                ("object_id", models.BigIntegerField()),
                ("name", models.CharField(max_length=120)),
                ("used_until", models.DateTimeField()),
            ],
            options={
                "ordering": ("used_until", "id"),
                "indexes": [
                    models.Index(fields=["kind", "object_id", "used_until"], name="former_name_by_object")
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, UNDO),
    ]
