import django.db.models.deletion
from django.db import migrations, models

from core.sql import sql_beside

UNDO = """
DROP TRIGGER usage_day_unfolds ON usage_day;
DROP TRIGGER usage_day_unfolds_changed ON usage_day;
DROP TRIGGER usage_day_unfolds_deleted ON usage_day;
DROP FUNCTION usage_unfold();
DROP FUNCTION usage_fold();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("teams", "0005_sessions_begin_anew"),
        ("usage", "0045_place_ahead"),
    ]

    operations = [
        migrations.CreateModel(
            name="FoldedDays",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("until", models.DateField()),
            ],
            options={
                "db_table": "usage_folded",
            },
        ),
        migrations.CreateModel(
            name="ProjectDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField()),
                ("cost_usd", models.DecimalField(decimal_places=12, max_digits=28)),
                (
                    "department",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="teams.department",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="teams.project",
                    ),
                ),
                (
                    "team",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="teams.team",
                    ),
                ),
            ],
            options={
                "db_table": "usage_project_day",
                "indexes": [
                    models.Index(fields=["project", "day"], name="usage_project_day_by_project"),
                    models.Index(fields=["team", "day"], name="usage_project_day_by_team"),
                    models.Index(fields=["department", "day"], name="usage_project_day_by_dept"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("day", "project", "team", "department"),
                        name="usage_project_day_one_row_per_place",
                    )
                ],
            },
        ),
        sql_beside(__file__, undo=UNDO),
    ]
