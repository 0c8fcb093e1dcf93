from pathlib import Path

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from core.sql import functions_again

HERE = Path(__file__).parent
STORE = (HERE / "0026_narrow.sql").read_text(encoding="utf-8")
# What writes and reads calls as they are kept now.
FUNCTIONS = "\n".join(
    functions_again(HERE / f"{name}.sql")
    for name in ("0005_settle", "0014_import", "0015_retire", "0018_corrections", "0021_put_right")
)

# There is no way back: the functions that wrote and read wide rows are not kept, and without them the books
# would stand still. docs/operations.md ("Going back to an earlier version") says what to do instead.


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0006_price_review"),
        ("teams", "0004_people_and_directory"),
        ("usage", "0025_no_twins"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CallSource",
            fields=[
                ("id", models.SmallAutoField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=40, unique=True)),
            ],
            options={
                "db_table": "usage_source",
            },
        ),
        migrations.AlterModelOptions(
            name="usageevent",
            options={"managed": False},
        ),
        migrations.CreateModel(
            name="CallAttribution",
            fields=[
                ("key_id", models.BigIntegerField()),
                ("id", models.AutoField(primary_key=True, serialize=False)),
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
                    "model",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="catalog.llmmodel",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
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
                (
                    "tier",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="catalog.tier",
                    ),
                ),
            ],
            options={
                "db_table": "usage_attribution",
                "indexes": [models.Index(fields=["key_id", "model"], name="usage_attribution_by_key")],
            },
        ),
        migrations.RunSQL(
            STORE,
            state_operations=[
                migrations.CreateModel(
                    name="StoredCall",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "source",
                                "at",
                                "recorded_at",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("at", models.DateTimeField()),
                        ("recorded_at", models.DateTimeField()),
                        ("reservation_id", models.BigIntegerField(null=True)),
                        ("packed", models.UUIDField(null=True)),
                        ("input_tokens", models.IntegerField()),
                        ("output_tokens", models.IntegerField()),
                        ("cached_tokens", models.IntegerField(null=True)),
                        ("cache_write_tokens", models.IntegerField(null=True)),
                        ("reasoning_tokens", models.IntegerField(null=True)),
                        ("calls", models.SmallIntegerField()),
                        ("cache_hit", models.BooleanField()),
                        ("estimated", models.BooleanField()),
                        ("late", models.BooleanField()),
                        ("cost_usd", models.DecimalField(decimal_places=12, max_digits=28)),
                        ("shape", models.TextField(null=True)),
                        ("finish", models.TextField(null=True)),
                        ("units", models.JSONField(null=True)),
                        ("provider_call_id", models.TextField(null=True)),
                        (
                            "attribution",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="usage.callattribution",
                            ),
                        ),
                        (
                            "source",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="usage.callsource",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "usage_call",
                    },
                ),
            ],
        ),
        migrations.RunSQL(FUNCTIONS),
    ]
