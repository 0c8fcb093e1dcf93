"""PATCH as Okta and Entra ID send it: operations on paths, or on an object of attributes without a path."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from teams.scim.protocol import PATCH, Json, invalid

ONE_MEMBER = re.compile(r'members\[\s*value\s+eq\s+"([^"]+)"\s*\]', re.IGNORECASE)
MAX_OPERATIONS = 1_000


class Op(StrEnum):
    """What is done to an attribute."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One operation on one attribute; `path` is in small letters and without the schema before it."""

    op: Op
    path: str
    value: Any


def changes(body: Json) -> list[Change]:
    """Return the operations one by one. Raises ScimError."""
    operations = body.get("Operations")
    if PATCH not in body.get("schemas", []) or not isinstance(operations, list):
        raise invalid(f"Send schemas with {PATCH}, and Operations.", "invalidSyntax")
    if len(operations) > MAX_OPERATIONS:
        raise invalid(f"Send at most {MAX_OPERATIONS} operations at once.", "tooMany")
    return [change for operation in operations for change in _changes(operation)]


def _changes(operation: Any) -> Iterator[Change]:
    op = operation.get("op") if isinstance(operation, dict) else None
    if not isinstance(op, str) or op.lower() not in set(Op):
        raise invalid("An operation is add, remove or replace.", "invalidSyntax")
    path, value = operation.get("path"), operation.get("value")
    if path is not None and not isinstance(path, str):
        raise invalid("A path is text.", "invalidPath")
    if path:
        yield from _on_path(Op(op.lower()), path, value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _on_path(Op(op.lower()), name, inner)
    else:
        raise invalid("An operation without a path needs an object of attributes.", "noTarget")


def _on_path(op: Op, path: str, value: Any) -> Iterator[Change]:
    member = ONE_MEMBER.fullmatch(path.strip())
    if member:
        yield Change(op=op, path="members", value=[{"value": member[1]}])
        return
    plain = path.strip().lower()
    short = plain.rpartition(":")[2] if plain.startswith("urn:") else plain
    if short == "name" and isinstance(value, dict):
        for name, inner in value.items():
            yield Change(op=op, path=f"name.{name.lower()}", value=inner)
    else:
        yield Change(op=op, path=short, value=value)
