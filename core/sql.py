"""Loads the SQL that stands beside a migration, so that functions are read and reviewed as SQL."""

from pathlib import Path

from django.db.migrations.operations import RunSQL


def sql_beside(migration_file: str, *, undo: str) -> RunSQL:
    """Return the operation that runs `NNNN_name.sql` beside `NNNN_name.py`; `undo` reverses it."""
    return RunSQL(Path(migration_file).with_suffix(".sql").read_text(encoding="utf-8"), undo)
