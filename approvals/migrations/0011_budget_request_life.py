from pathlib import Path

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import core.ids
from core.sql import sql_beside

BEFORE = Path(__file__).with_name("0010_budget_requests_for_another.sql")
# What there is began when it was asked or changed, past the guards that keep people from rewriting it.
FILL_IN = """
ALTER TABLE approvals_budgetrequest DISABLE TRIGGER USER;
UPDATE approvals_budgetrequest SET revised_at = greatest(created_at, decide_by - interval '7 days');
UPDATE approvals_budgetrequest r SET revised_in_id = p.team_id FROM teams_project p WHERE p.id = r.project_id;
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE approvals_budgetrequest ENABLE TRIGGER USER;
"""
UNDO = """
DROP TRIGGER budget_comment_is_not_truncated ON approvals_budgetcomment;
DROP TRIGGER budget_comment_is_append_only ON approvals_budgetcomment;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0010_budget_requests_for_another"),
        ("teams", "0002_former_names"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddField(
            model_name="budgetrequest",
            name="reminders",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="budgetrequest",
            name="revised_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="budgetrequest",
            name="revised_in",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="teams.team"
            ),
        ),
        migrations.RunSQL(FILL_IN, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="budgetrequest",
            name="revised_at",
            field=models.DateTimeField(),
        ),
        migrations.CreateModel(
            name="BudgetComment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "public_id",
                    core.ids.PublicIdField(editable=False, max_length=32, prefix="bcm", unique=True),
                ),
                ("revision", models.PositiveIntegerField()),
                ("text", models.TextField()),
                ("at", models.DateTimeField()),
                (
                    "author",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="comments",
                        to="approvals.budgetrequest",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("text", ""), _negated=True), name="budget_comment_says_something"
                    )
                ],
            },
        ),
        sql_beside(__file__, undo=UNDO + BEFORE.read_text(encoding="utf-8")),
    ]
