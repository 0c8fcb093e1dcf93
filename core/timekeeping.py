"""Asks the database for the time, once a minute and process, where a connection is opened anyway."""

import time
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from core import clock

ASKED_EVERY_SECONDS = 60.0


class Timekeeper:
    """Keeps when the database was last asked for the time."""

    def __init__(self) -> None:
        self._asked_at = float("-inf")

    def ask(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        """Ask on a connection that was just opened; it listens to Django's `connection_created`."""
        at = time.monotonic()
        if at - self._asked_at < ASKED_EVERY_SECONDS:
            return
        self._asked_at = at
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (told,) = cursor.fetchone()
        clock.heed(told)
