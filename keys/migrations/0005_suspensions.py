import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import core.clock
import core.ids
from core.sql import sql_beside

UNDO = """
DROP TRIGGER plan_is_sound ON keys_plannedactivity;
DROP FUNCTION keys_plan_is_sound();
DROP TRIGGER suspension_is_sound ON keys_suspension;
DROP FUNCTION keys_suspension_is_sound();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0004_api_tokens"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="PlannedActivity",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    core.ids.PublicIdField(editable=False, max_length=32, prefix="pln", unique=True),
                ),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("most_usd_an_hour", models.DecimalField(decimal_places=12, max_digits=28)),
                ("reason", models.CharField(max_length=240)),
                ("planned_at", models.DateTimeField(default=core.clock.now)),
                ("cancelled_at", models.DateTimeField(null=True)),
                (
                    "cancelled_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="planned_activities",
                        to="keys.apikey",
                    ),
                ),
                (
                    "planned_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "planned activities",
                "ordering": ("-starts_at", "-id"),
                "indexes": [models.Index(fields=["key", "ends_at"], name="planned_activity_by_key")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("ends_at__gt", models.F("starts_at"))),
                        name="planned_activity_ends_after_it_starts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("most_usd_an_hour__gt", 0)), name="planned_activity_has_an_amount"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cancelled_at__isnull", True), ("cancelled_by__isnull", True)),
                            models.Q(("cancelled_at__isnull", False), ("cancelled_by__isnull", False)),
                            _connector="OR",
                        ),
                        name="planned_activity_is_cancelled_by_a_person",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Suspension",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    core.ids.PublicIdField(editable=False, max_length=32, prefix="sus", unique=True),
                ),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("person", "By a person"),
                            ("burn_hour", "Burns its budget within hours"),
                            ("burn_six_hours", "Burns its budget within days"),
                            ("velocity", "Spends faster than it ever did"),
                            ("plan", "Spends faster than was planned"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(max_length=240)),
                ("evidence", models.JSONField(default=dict)),
                ("suspended_at", models.DateTimeField(default=core.clock.now)),
                ("told_at", models.DateTimeField(null=True)),
                ("resumed_at", models.DateTimeField(null=True)),
                ("resumed_reason", models.CharField(blank=True, max_length=240)),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="suspensions",
                        to="keys.apikey",
                    ),
                ),
                (
                    "resumed_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "suspended_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("told_at__isnull", True)),
                        fields=["id"],
                        name="suspension_to_be_told",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("resumed_at__isnull", True)),
                        fields=("key",),
                        name="suspension_is_the_only_open_one",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cause", "person"), ("suspended_by__isnull", False)),
                            models.Q(
                                models.Q(("cause", "person"), _negated=True), ("suspended_by__isnull", True)
                            ),
                            _connector="OR",
                        ),
                        name="suspension_is_by_a_person_or_by_the_breaker",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resumed_at__isnull", True), ("resumed_by__isnull", True)),
                            models.Q(
                                ("resumed_at__gte", models.F("suspended_at")), ("resumed_by__isnull", False)
                            ),
                            _connector="OR",
                        ),
                        name="suspension_is_ended_by_a_person",
                    ),
                ],
            },
        ),
        sql_beside(__file__, undo=UNDO),
    ]
