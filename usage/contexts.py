"""The service classes that a call may be asked for, and the one that it is told to be answered in. Pure."""

import re
from collections.abc import Mapping
from typing import Any

CONTEXTS = frozenset({"standard", "batch", "flex", "priority", "fast", "unknown"})
# A class that is none of these is charged at the dearest there is, and its call is marked as estimated.
KNOWN_CONTEXTS = CONTEXTS - {"unknown"}
_NAME = re.compile(r"[\x21-\x7e]{1,16}")


class ServedContextError(ValueError):
    """What is told is no name of a service class."""


def checked_served_context(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return `served_context` as the SQL function reads it, and `estimated` with one that nobody knows; empty
    where nothing is told. Raises ServedContextError.

    Any short name is one: providers make new classes, and a settlement is not lost over what they are called.
    """
    told = raw.get("served_context")
    if told is None:
        return {}
    if not isinstance(told, str) or not _NAME.fullmatch(told):
        raise ServedContextError("served_context must be a text of 1 to 16 printable characters, or null.")
    return {"served_context": told} if told in KNOWN_CONTEXTS else {"served_context": told, "estimated": True}
