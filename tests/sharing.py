"""Makes a world once for all tests of a file, each of which meets it as it was made.

Only for files whose tests all start from this world, and in which none commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

Made = TypeVar("Made")


@contextmanager
def for_all_tests(make: Callable[[], Made], blocker: DjangoDbBlocker) -> Iterator[Made]:
    """Keep what `make` writes in a transaction around the tests; each test undoes what it does within.

    Give a test a deep copy: what it does to the objects in memory is not undone.
    """
    with blocker.unblock(), transaction.atomic():
        made = make()
        connection.check_constraints()
        yield made
        transaction.set_rollback(True)
