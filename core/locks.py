"""Locks rows before they are read together with the rows that they refer to.

One statement that does both sets a row as it is after the wait against the joined rows of before it: where
the row refers to another one since, it is not found, or found without it (PostgreSQL's manual, 13.2.1 Read
Committed Isolation Level).
"""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

_Row = TypeVar("_Row", bound=Model)


def lock_first(rows: QuerySet[_Row], pk: Any) -> _Row:
    """Lock one row to the end of the transaction, then read it with all that `rows` joins to it.

    Others may still refer to the row. Raises its DoesNotExist.
    """
    _bare(rows).get(pk=pk)
    return rows.get(pk=pk)


def lock_all_first(rows: QuerySet[_Row]) -> list[_Row]:
    """Lock these rows in the order of their ids, then read those that `rows` still finds, in that order."""
    found = list(rows.order_by("pk").values_list("pk", flat=True))
    list(_bare(rows).filter(pk__in=found))
    return list(rows.filter(pk__in=found).order_by("pk"))


def _bare(rows: QuerySet[_Row]) -> QuerySet[_Row, Any]:
    bare = rows.model._default_manager.select_for_update(no_key=True)  # noqa: SLF001  Django's name for it
    return bare.order_by("pk").values_list("pk", flat=True)
