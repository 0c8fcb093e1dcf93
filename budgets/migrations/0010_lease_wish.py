from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("budgets", "0009_carry_over_skipped_windows")]
    operations = [
        migrations.AddField("lease", "wish", models.CharField(max_length=40, null=True)),
        migrations.AddConstraint(
            "lease",
            models.UniqueConstraint(
                fields=("source", "node", "wish"),
                condition=Q(closed_at__isnull=True),
                name="lease_one_per_wish",
            ),
        ),
    ]
