from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0015_department_of_a_budget"),
    ]

    operations = [
        migrations.AddField(
            model_name="lease",
            name="unheard_usd",
            field=models.DecimalField(db_default=0, decimal_places=12, default=0, max_digits=28),
        ),
        migrations.AddIndex(
            model_name="lease",
            index=models.Index(
                condition=models.Q(("unheard_usd__gt", 0)), fields=["closed_at"], name="lease_ended_unheard"
            ),
        ),
        migrations.AddConstraint(
            model_name="lease",
            constraint=models.CheckConstraint(
                condition=models.Q(("unheard_usd__gte", 0), ("unheard_usd__lte", models.F("returned_usd"))),
                name="lease_is_in_doubt_about_what_it_gave_back",
            ),
        ),
    ]
