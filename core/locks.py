"""Locks a row before it is read together with the rows that it refers to."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

_Row = TypeVar("_Row", bound=Model)


def lock_first(rows: QuerySet[_Row], pk: Any) -> _Row:
    """Lock one row to the end of the transaction, then read it with all that `rows` joins to it.

    One statement that does both sets the row as it is after the wait against the joined rows of before it:
    where the row refers to another one since, it is not found, or found without it (PostgreSQL's manual,
    13.2.1 Read Committed Isolation Level). Others may still refer to the row. Raises its DoesNotExist.
    """
    bare = rows.model._default_manager.select_for_update(no_key=True)  # noqa: SLF001  Django's name for it
    bare.order_by("pk").values_list("pk", flat=True).get(pk=pk)
    return rows.get(pk=pk)
