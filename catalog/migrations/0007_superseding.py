from pathlib import Path

import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.constraints
from django.db import migrations

import teams.models
from core.sql import functions_again

# A price gives way in the past to one that takes its place from that moment on.
AGAIN = functions_again(Path(__file__).with_name("0002_pricing.sql"), only={"catalog_price_is_dated"})


class Migration(migrations.Migration):
    dependencies = [("catalog", "0006_price_review")]

    operations = [
        migrations.RemoveConstraint(model_name="price", name="price_ranges_do_not_overlap"),
        migrations.AddConstraint(
            model_name="price",
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(
                deferrable=django.db.models.constraints.Deferrable["IMMEDIATE"],
                expressions=[
                    ("model", "="),
                    ("unit", "="),
                    ("context", "="),
                    ("tier_start", "="),
                    ("source", "="),
                    (
                        teams.models.TsTzRange(
                            "valid_from",
                            "valid_until",
                            django.contrib.postgres.fields.ranges.RangeBoundary(),
                        ),
                        "&&",
                    ),
                ],
                name="price_ranges_do_not_overlap",
            ),
        ),
        migrations.RunSQL(AGAIN, migrations.RunSQL.noop),
    ]
