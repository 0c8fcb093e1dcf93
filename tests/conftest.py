"""What every test gets. The servers come from tests/services_plugin.py, the cast from tests/factories."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from django.conf import settings
from django.db.backends.postgresql.operations import DatabaseOperations

from tests.cast import cast

__all__ = ["cast"]

_flush = DatabaseOperations.execute_sql_flush
_TRUNCATE_TRIGGERS = """
DO $$ DECLARE guard record; BEGIN
  FOR guard IN
    SELECT tgrelid::regclass AS home, tgname FROM pg_trigger WHERE tgname LIKE '%_is_not_truncated'
  LOOP
    EXECUTE format('ALTER TABLE %s {} TRIGGER %I', guard.home, guard.tgname);
  END LOOP;
END $$
"""


def _flush_append_only_tables(self: DatabaseOperations, statements: Iterable[str]) -> None:
    """Empty the database after a test; only here do the append-only guards look away, for one transaction."""
    guards_off, guards_on = (_TRUNCATE_TRIGGERS.format(what) for what in ("DISABLE", "ENABLE"))
    _flush(self, [guards_off, *statements, guards_on])


DatabaseOperations.execute_sql_flush = _flush_append_only_tables  # type: ignore[method-assign, assignment]


def pytest_configure(config: pytest.Config) -> None:
    """Trade strength for speed where no test looks, before anything uses these settings."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.LEAK_REPORTS_PER_MINUTE = 1_000_000
    settings.WHITENOISE_AUTOREFRESH = settings.WHITENOISE_USE_FINDERS = True
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
