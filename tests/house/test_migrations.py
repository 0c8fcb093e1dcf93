"""Models and migrations say the same."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    output = StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=output)
    assert output.getvalue() == "No changes detected\n"


def test_every_migration_can_be_reversed_but_those_that_say_why() -> None:
    found = MigrationLoader(None).disk_migrations
    one_way = {
        key for key, migration in found.items() if not all(part.reversible for part in migration.operations)
    }
    assert one_way == {("usage", "0026_narrow"), ("usage", "0032_runaways")}
