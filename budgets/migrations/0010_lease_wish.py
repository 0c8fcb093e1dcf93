from django.db import migrations, models
from django.db.models import F, Q

# What no call has drawn and no lease holds any more was given back.
GIVEN_BACK = """
WITH drawn AS (SELECT lease_id, sum(held_usd) AS usd FROM budgets_reservation WHERE lease_id IS NOT NULL GROUP BY 1)
UPDATE budgets_lease l SET returned_usd = l.granted_usd - l.held_usd - coalesce(d.usd, 0)
  FROM budgets_lease x LEFT JOIN drawn d ON d.lease_id = x.id WHERE x.id = l.id
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0009_carry_over_skipped_windows")]
    operations = [
        migrations.AddField("lease", "wish", models.CharField(max_length=40, null=True)),
        migrations.AddField(
            "lease",
            "returned_usd",
            models.DecimalField(db_default=0, default=0, decimal_places=12, max_digits=28),
        ),
        migrations.RunSQL(GIVEN_BACK, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "lease",
            models.CheckConstraint(
                condition=Q(returned_usd__gte=0, returned_usd__lte=F("granted_usd") - F("held_usd")),
                name="lease_gives_back_what_it_was_granted",
            ),
        ),
        migrations.AddConstraint(
            "lease",
            models.UniqueConstraint(
                fields=("source", "node", "wish"),
                condition=Q(closed_at__isnull=True),
                name="lease_one_per_wish",
            ),
        ),
    ]
