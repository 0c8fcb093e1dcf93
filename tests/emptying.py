"""Takes the database back to what the migrations made of it, after a test that committed.

Django's flush makes a new file for each table and each index, 800 of them, and forgets the rows that the
migrations wrote, so that the next test would depend on the order. Here rows are deleted from where they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql

# A larger table costs less to truncate, and so does not carry its deleted rows through the run.
MOST_BYTES_TO_DELETE = 1_000_000
TABLES = """
    SELECT relname, pg_relation_size(oid) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> 'django_migrations'
"""
_from_migrations: dict[str, bytes] = {}


def remember() -> None:
    """Keep the rows that the migrations wrote; to be called before any test."""
    with connection.cursor() as cursor:
        tables = _sizes(cursor)
        _from_migrations.update({table: _copied(cursor, table) for table in _with_rows(cursor, tables)})


def restore() -> None:
    """Have the rows that the migrations wrote and no others; append-only guards look away meanwhile.

    One transaction. Sequences go on from where they are.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        sizes = _sizes(cursor)
        changed = {table for table in _from_migrations if _copied(cursor, table) != _from_migrations[table]}
        emptied = changed | (_with_rows(cursor, sizes) - _from_migrations.keys())
        large = any(sizes[table] > MOST_BYTES_TO_DELETE for table in emptied)
        if large:
            changed, emptied = set(_from_migrations), set(sizes)
        _each(cursor, "ALTER TABLE {} DISABLE TRIGGER USER", emptied)
        if large:
            names = sql.SQL(", ").join(map(sql.Identifier, sorted(emptied)))
            cursor.execute(sql.SQL("TRUNCATE {}").format(names))
        else:
            _each(cursor, "DELETE FROM {}", emptied)
        for table in changed:
            with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as rows:
                rows.write(_from_migrations[table])
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        _each(cursor, "ALTER TABLE {} ENABLE TRIGGER USER", emptied)


def _sizes(cursor: CursorWrapper) -> dict[str, int]:
    """Return every table, partitions included, with its bytes."""
    cursor.execute(TABLES)
    return dict(cursor.fetchall())


def _with_rows(cursor: CursorWrapper, sizes: dict[str, int]) -> set[str]:
    """Return the tables that have a row; without bytes there is none."""
    asked = [
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(table, sql.Identifier(table))
        for table in sizes
        if sizes[table]
    ]
    cursor.execute(sql.SQL(" UNION ALL ").join(asked))
    return {table for (table,) in cursor.fetchall()}


def _copied(cursor: CursorWrapper, table: str) -> bytes:
    """Return the rows of a table as PostgreSQL copies them."""
    with cursor.copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as rows:
        return b"".join(bytes(row) for row in rows)


def _each(cursor: CursorWrapper, statement: str, tables: Iterable[str]) -> None:
    """Run a statement about each of these tables, in one round trip; locks are taken in the same order."""
    about = [sql.SQL(statement).format(sql.Identifier(table)) for table in sorted(tables)]
    if about:
        cursor.execute(sql.SQL("; ").join(about))
