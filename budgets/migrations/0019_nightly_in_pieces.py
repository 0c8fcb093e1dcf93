import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("budgets", "0018_balances_by_window")]
    operations = [
        migrations.CreateModel(
            name="EntrySum",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "budget_id",
                        "window_start",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("budget_id", models.BigIntegerField()),
                ("window_start", models.DateTimeField()),
                ("amount_usd", models.DecimalField(decimal_places=12, max_digits=28)),
            ],
        ),
        migrations.AddIndex(
            model_name="reservation",
            index=django.contrib.postgres.indexes.BrinIndex(
                fields=["authorized_at"], name="reservation_by_time"
            ),
        ),
    ]
