"""A clock that tests move: inside `moved_clock` every function of the database reads it.

PostgreSQL looks names up along `search_path`, so a schema before `pg_catalog` that holds `clock_timestamp`
and `now` reaches every function without changing one of them. The time stands still between two moves, so
what is decided by it is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connection

SCHEMA = """
CREATE SCHEMA moved;
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
  AS $$ SELECT current_setting('moved.now')::timestamptz $$;
CREATE FUNCTION moved.now() RETURNS timestamptz LANGUAGE sql STABLE
  AS $$ SELECT current_setting('moved.now')::timestamptz $$;
CREATE FUNCTION moved.micros(at timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE
  AS $$ SELECT (extract(epoch FROM at) * 1000000)::bigint $$;
"""


@contextmanager
def moved_clock(at: datetime) -> Iterator[None]:
    """Let the database read a clock that stands at `at`, to the end of the transaction that this is in."""
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        cursor.execute("SET LOCAL search_path TO moved, pg_catalog, public")
    move_to(at)
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL search_path TO DEFAULT")
        cursor.execute("DROP SCHEMA moved CASCADE")


def move_to(at: datetime) -> None:
    """Set the moved clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('moved.now', %s, true)", [at.isoformat()])
