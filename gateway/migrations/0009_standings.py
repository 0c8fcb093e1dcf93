from pathlib import Path

import django.contrib.postgres.fields
from django.db import migrations, models

from core.sql import functions_again, sql_beside

BATCHES = Path(__file__).with_name("0003_batches.sql")
LEASES = Path(__file__).with_name("0006_lease_wishes.sql").read_text(encoding="utf-8")
# gateway_callers tells more than before; gateway_authorize has moved here.
FORMER = """
DROP FUNCTION gateway_callers(jsonb, timestamptz);
DROP FUNCTION IF EXISTS gateway_authorize(jsonb, interval);
"""
UNDO = """
DROP FUNCTION IF EXISTS gateway_authorize(jsonb, interval);
DROP FUNCTION IF EXISTS gateway_authorize(jsonb, float8[]);
DROP FUNCTION gateway_look_up(jsonb, int[], timestamptz);
DROP FUNCTION gateway_remember(gateway_standing[], timestamptz, pg_snapshot, int);
DROP FUNCTION gateway_costed(int, text, text, bytea, text, text, int, bigint, bigint, jsonb, jsonb, jsonb, gateway_standing);
DROP FUNCTION gateway_forget_standings() CASCADE;
ALTER TYPE gateway_call DROP ATTRIBUTE limits_usd;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0008_sources"),
        ("budgets", "0012_entries_put_right"),
        ("catalog", "0006_price_review"),
        ("keys", "0004_api_tokens"),
        ("teams", "0004_people_and_directory"),
    ]

    operations = [
        migrations.CreateModel(
            name="Standing",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "digest",
                        "asked_model",
                        "context",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("digest", models.BinaryField()),
                ("asked_model", models.TextField()),
                ("context", models.TextField()),
                ("mode", models.TextField()),
                ("key_id", models.BigIntegerField()),
                ("key_public", models.TextField()),
                ("owner_id", models.BigIntegerField()),
                ("project_id", models.BigIntegerField()),
                ("project_code", models.TextField()),
                ("team_id", models.BigIntegerField()),
                ("team_code", models.TextField()),
                ("department_id", models.BigIntegerField()),
                ("model_id", models.BigIntegerField()),
                ("tier_id", models.IntegerField()),
                ("context_window_tokens", models.BigIntegerField()),
                ("max_output_tokens", models.BigIntegerField()),
                ("default_output_tokens", models.BigIntegerField()),
                ("floor_output_tokens", models.BigIntegerField()),
                ("below_input_tokens", models.BigIntegerField(null=True)),
                ("input_usd", models.DecimalField(decimal_places=15, max_digits=20)),
                ("dear_input_usd", models.DecimalField(decimal_places=15, max_digits=20)),
                ("dear_request_usd", models.DecimalField(decimal_places=15, max_digits=20)),
                ("dear_output_usd", models.DecimalField(decimal_places=15, max_digits=20)),
                (
                    "budget_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                (
                    "window_starts",
                    django.contrib.postgres.fields.ArrayField(base_field=models.DateTimeField(), size=None),
                ),
                (
                    "limits_usd",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.DecimalField(decimal_places=12, max_digits=28, null=True), size=None
                    ),
                ),
                (
                    "rate_ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None),
                ),
                ("known_at", models.DateTimeField()),
                ("valid_until", models.DateTimeField()),
                ("seen_before", models.BigIntegerField()),
                ("seen_turn", models.IntegerField()),
                ("seen", models.TextField()),
                ("server_started_at", models.DateTimeField()),
            ],
            options={
                "db_table": "gateway_standing",
            },
        ),
        migrations.CreateModel(
            name="StandingChange",
            fields=[
                ("xid", models.BigIntegerField(primary_key=True, serialize=False)),
                ("turn", models.IntegerField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "gateway_standing_change",
            },
        ),
        migrations.RunSQL(FORMER, migrations.RunSQL.noop),
        migrations.RunSQL(functions_again(BATCHES) + LEASES, migrations.RunSQL.noop),
        sql_beside(__file__, undo=UNDO),
    ]
