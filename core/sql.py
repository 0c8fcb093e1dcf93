"""Loads the SQL that stands beside a migration, so that functions are read and reviewed as SQL."""

import re
from collections.abc import Container
from pathlib import Path

from django.db.migrations.operations import RunSQL


def sql_beside(migration_file: str, *, undo: str) -> RunSQL:
    """Return the operation that runs `NNNN_name.sql` beside `NNNN_name.py`; `undo` reverses it."""
    return RunSQL(Path(migration_file).with_suffix(".sql").read_text(encoding="utf-8"), undo)


def functions_of(migration_file: str, name: str) -> str:
    """Return what puts the functions of `name.sql`, which a later migration replaced, back in their place."""
    text = Path(migration_file).with_name(f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


def functions_again(sql: Path, *, only: Container[str] | None = None) -> str:
    """Return the functions of a file, or those of these names, without its types, to be made anew in a
    database that has an earlier text of them.
    """
    parts = re.split(r"(?m)^(?=CREATE (?:OR REPLACE )?FUNCTION )", sql.read_text(encoding="utf-8"))[1:]
    functions = [
        part[: part.index("$$;") + 3]
        for part in parts
        if only is None or re.split(r"FUNCTION |\(", part, maxsplit=2)[1] in only
    ]
    return "\n".join(each.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1) for each in functions)
