"""Stops a money flow at its n-th step.

Each flow is one SQL statement, so its steps are inside the database: the changes of single rows, and then the
commit. Triggers on every table count them, in a sequence, which no rollback takes back; at the step that was
asked for they raise an error, or end the server process in the middle of the statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from django.db import connection

INSTALL = """
CREATE TABLE failpoint (stop_at bigint, how text);
INSERT INTO failpoint VALUES (0, '');
CREATE SEQUENCE failpoint_step;
CREATE FUNCTION failpoint() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  step bigint := nextval('failpoint_step');
  wanted failpoint;
BEGIN
  SELECT * INTO wanted FROM failpoint;
  IF step = wanted.stop_at THEN
    IF wanted.how = 'terminate' THEN
      PERFORM pg_terminate_backend(pg_backend_pid());
      PERFORM pg_sleep(10);
    END IF;
    RAISE EXCEPTION 'stopped at step %, % of %', step, TG_OP, TG_TABLE_NAME;
  END IF;
  RETURN coalesce(NEW, OLD);
END $$;
DO $$
DECLARE
  home record;
BEGIN
  FOR home IN SELECT oid::regclass AS name, relkind FROM pg_class
              WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
                AND NOT relispartition AND relname NOT IN ('failpoint', 'django_migrations') LOOP
    EXECUTE format('CREATE TRIGGER a_failpoint BEFORE INSERT OR UPDATE OR DELETE ON %s'
                   ' FOR EACH ROW EXECUTE FUNCTION failpoint()', home.name);
    IF home.relkind = 'r' THEN
      EXECUTE format('CREATE CONSTRAINT TRIGGER failpoint_at_commit AFTER INSERT OR UPDATE OR DELETE ON %s'
                     ' DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION failpoint()', home.name);
    END IF;
  END LOOP;
END $$;
"""
REMOVE = "DROP FUNCTION failpoint() CASCADE; DROP SEQUENCE failpoint_step; DROP TABLE failpoint"


class How(StrEnum):
    """In which way a flow is stopped: an error in its statement, or the end of its server process."""

    RAISE = "raise"
    TERMINATE = "terminate"


@contextmanager
def failpoints() -> Iterator[None]:
    """Have the triggers inside the block."""
    _execute(INSTALL)
    try:
        yield
    finally:
        connection.close()
        _execute(REMOVE)


@contextmanager
def stop_at(step: int, how: How) -> Iterator[Stop]:
    """Stop what is done inside the block at its n-th step, the first is 1."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE failpoint SET stop_at = %s, how = %s", [step, how.value])
        cursor.execute("SELECT setval('failpoint_step', 1, false)")
    stop = Stop()
    try:
        yield stop
    finally:
        if how is How.TERMINATE:
            connection.close()
        with connection.cursor() as cursor:
            cursor.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM failpoint_step")
            stop.steps = cursor.fetchone()[0]
            stop.happened = stop.steps >= step
        _execute("UPDATE failpoint SET stop_at = 0")


class Stop:
    """How far a flow came, known after the block: the steps it made, and whether it was stopped."""

    steps = 0
    happened = False


def _execute(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements)
