from pathlib import Path

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from core.sql import functions_again, sql_beside

BEFORE = Path(__file__).with_name("0004_budget_requests.sql")


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0009_approved_together"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddField(
            model_name="budgetrequest",
            name="on_behalf_of",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("on_behalf_of__isnull", True),
                    models.Q(
                        ("decided_by__isnull", False),
                        models.Q(("on_behalf_of", models.F("decided_by")), _negated=True),
                        models.Q(("on_behalf_of", models.F("requester")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="budget_request_is_decided_for_somebody_else",
            ),
        ),
        sql_beside(__file__, undo=functions_again(BEFORE)),
    ]
