from django.conf import settings
from django.db import migrations, models


def copied(to):
    return models.ForeignKey(
        to=to, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="+"
    )


def fields():
    """Name what a lease copies; there are no leases yet, so no row needs a value."""
    people = {"owner": settings.AUTH_USER_MODEL, "project": "teams.project", "team": "teams.team"}
    return people | {"department": "teams.department", "model": "catalog.llmmodel", "tier": "catalog.tier"}


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0005_open_window"),
        ("catalog", "0005_cards"),
        ("teams", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField("lease", name, copied(to)) for name, to in fields().items()
            ],
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE budgets_lease ADD owner_id bigint NOT NULL, ADD project_id bigint NOT NULL,"
                    " ADD team_id bigint NOT NULL, ADD department_id bigint NOT NULL, ADD model_id bigint NOT NULL,"
                    " ADD tier_id smallint NOT NULL",
                    "ALTER TABLE budgets_lease DROP owner_id, DROP project_id, DROP team_id, DROP department_id,"
                    " DROP model_id, DROP tier_id",
                )
            ],
        )
    ]
