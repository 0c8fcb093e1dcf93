"""What every test gets. The servers come from tests/services_plugin.py, the cast from tests/factories."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client, TransactionTestCase
from pytest_django import DjangoDbBlocker

from tests import emptying, skewing
from tests.cast import cast
from tests.signing import open_session, session_of

__all__ = ["cast", "skewing"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Make the database, and keep what the migrations wrote for `emptying.restore`."""
    with django_db_blocker.unblock():
        emptying.remember()


def _restore(self: TransactionTestCase) -> None:
    """Take the database back after a test that committed, in the place of Django's flush."""
    emptying.restore()


TransactionTestCase._fixture_teardown = _restore  # type: ignore[attr-defined]
# Django's client puts into the cookie what a session is called in the database, which opens none here.
Client.session = property(session_of)  # type: ignore[assignment]
Client.force_login = open_session  # type: ignore[assignment,method-assign]


def pytest_configure(config: pytest.Config) -> None:
    """Trade strength for speed where no test looks, before anything uses these settings."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.LEAK_REPORTS_PER_MINUTE = 1_000_000
    settings.WHITENOISE_AUTOREFRESH = settings.WHITENOISE_USE_FINDERS = True
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
