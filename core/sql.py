"""Loads the SQL that stands beside a migration, so that functions are read and reviewed as SQL."""

from pathlib import Path

from django.db.migrations.operations import RunSQL


def sql_beside(migration_file: str, *, undo: str) -> RunSQL:
    """Return the operation that runs `NNNN_name.sql` beside `NNNN_name.py`; `undo` reverses it."""
    return RunSQL(Path(migration_file).with_suffix(".sql").read_text(encoding="utf-8"), undo)


def functions_of(migration_file: str, name: str) -> str:
    """Return what puts the functions of `name.sql`, which a later migration replaced, back in their place."""
    text = Path(migration_file).with_name(f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
