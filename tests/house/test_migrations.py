"""Models and migrations say the same."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

FUNCTION = re.compile(
    r"^CREATE (?:OR REPLACE )?FUNCTION (\w+)\(.*?AS \$\$(.*?)\$\$;?$", re.MULTILINE | re.DOTALL
)


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


@pytest.mark.django_db
def test_every_function_is_the_last_text_that_a_migration_has_of_it() -> None:
    last: dict[str, str] = {}
    for file in sorted(Path(settings.BASE_DIR).glob("*/migrations/*.sql"), key=lambda file: file.name):
        last |= FUNCTION.findall(file.read_text(encoding="utf-8"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
        )
        made: dict[str, str] = dict(cursor.fetchall())

    assert len(last) > 80
    assert {name for name, text in last.items() if name in made and made[name] != text} == set()
