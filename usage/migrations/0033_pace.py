import django.db.models.deletion
from django.db import migrations, models

import core.ids
from core.sql import sql_beside

UNDO = """
DROP TRIGGER spend_warning_is_not_truncated ON usage_spendwarning;
DROP TRIGGER spend_warning_is_append_only ON usage_spendwarning;
DROP FUNCTION usage_keep_pace(timestamptz, timestamptz);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("teams", "0004_people_and_directory"),
        ("usage", "0032_runaways"),
    ]

    operations = [
        migrations.CreateModel(
            name="SpendWatch",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("through", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "usage_watch",
            },
        ),
        migrations.CreateModel(
            name="SpendDrift",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("watched_since", models.DateTimeField()),
                ("height", models.FloatField(default=0)),
                ("since", models.DateTimeField(null=True)),
                ("spent_usd", models.DecimalField(decimal_places=12, default=0, max_digits=28)),
                ("usual_usd", models.DecimalField(decimal_places=12, default=0, max_digits=28)),
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
            ],
            options={
                "db_table": "usage_drift",
                "constraints": [
                    models.UniqueConstraint(fields=("project",), name="usage_drift_one_row_per_project")
                ],
            },
        ),
        migrations.CreateModel(
            name="SpendPace",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("root_sum", models.FloatField()),
                ("cost_usd", models.DecimalField(decimal_places=12, max_digits=28)),
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
            ],
            options={
                "db_table": "usage_pace",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("hour", "project"), name="usage_pace_one_row_per_project_hour"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="SpendWarning",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    core.ids.PublicIdField(editable=False, max_length=32, prefix="wrn", unique=True),
                ),
                ("day", models.DateField(help_text="The organisation's day.")),
                ("since", models.DateTimeField()),
                ("warned_at", models.DateTimeField()),
                ("spent_usd", models.DecimalField(decimal_places=12, max_digits=28)),
                ("usual_usd", models.DecimalField(decimal_places=12, max_digits=28)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="spend_warnings",
                        to="teams.project",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "constraints": [
                    models.UniqueConstraint(fields=("project", "day"), name="spend_warning_once_a_day"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("spent_usd__gt", models.F("usual_usd")), ("warned_at__gt", models.F("since"))
                        ),
                        name="spend_warning_is_of_more_than_usual",
                    ),
                ],
            },
        ),
        sql_beside(__file__, undo=UNDO),
    ]
