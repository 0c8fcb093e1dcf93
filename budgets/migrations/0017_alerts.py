from pathlib import Path

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import budgets.models
import core.ids
from core.sql import sql_beside

# Which columns of a budget may change is said by the first function of that file.
RULES = Path(__file__).with_name("0004_rules.sql").read_text(encoding="utf-8")
SOUND_AGAIN = RULES[: RULES.index("$$;") + 3]
UNDO = """
DROP TRIGGER alert_is_not_truncated ON budgets_budgetalert;
DROP TRIGGER alert_is_append_only ON budgets_budgetalert;
DROP FUNCTION budgets_limit_since(bigint, timestamptz, timestamptz);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0016_lease_in_doubt"),
        ("catalog", "0006_price_review"),
        ("teams", "0004_people_and_directory"),
    ]

    operations = [
        migrations.CreateModel(
            name="BudgetAlert",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    core.ids.PublicIdField(editable=False, max_length=32, prefix="alr", unique=True),
                ),
                ("window_start", models.DateTimeField()),
                ("window_end", models.DateTimeField()),
                (
                    "kind",
                    models.CharField(choices=[("spent", "Spent"), ("forecast", "Forecast")], max_length=8),
                ),
                ("percent", models.PositiveSmallIntegerField()),
                ("limit_since", models.DateTimeField()),
                ("limit_usd", models.DecimalField(decimal_places=12, max_digits=28)),
                ("spent_usd", models.DecimalField(decimal_places=12, max_digits=28)),
                ("held_usd", models.DecimalField(decimal_places=12, max_digits=28)),
                ("forecast_usd", models.DecimalField(decimal_places=12, max_digits=28, null=True)),
                ("passes_on", models.DateField(null=True)),
                ("is_told", models.BooleanField()),
                ("passed_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.AddField(
            model_name="budget",
            name="alert_percents",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.PositiveSmallIntegerField(),
                db_default=[50, 80, 100],
                default=budgets.models.usual_percents,
                size=None,
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("alert_percents__len__range", (1, 6))),
                name="budget_tells_at_one_share_of_its_limit_or_some",
            ),
        ),
        migrations.AddField(
            model_name="budgetalert",
            name="budget",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="alerts", to="budgets.budget"
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetalert",
            constraint=models.UniqueConstraint(
                fields=("budget", "window_start", "limit_since", "kind", "percent"),
                name="alert_once_per_budget_window_limit_kind_and_percent",
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetalert",
            constraint=models.CheckConstraint(
                condition=models.Q(("percent__range", (1, 200))), name="alert_is_about_a_share_of_a_limit"
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetalert",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("limit_since__gte", models.F("window_start")),
                    ("limit_since__lt", models.F("window_end")),
                ),
                name="alert_limit_is_in_force_in_its_window",
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetalert",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "forecast"), _negated=True),
                    ("forecast_usd__isnull", False),
                    _connector="OR",
                ),
                name="alert_of_a_forecast_has_one",
            ),
        ),
        migrations.RunSQL(SOUND_AGAIN, migrations.RunSQL.noop),
        sql_beside(__file__, undo=UNDO),
    ]
