"""Filters as directories write them: `userName eq "ada@example.com"`, several joined by `and`."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from teams.scim.protocol import invalid

ONE = re.compile(r'\s*(?P<path>[\w.:-]+)\s+eq\s+(?P<value>"(?:[^"\\]|\\.)*"|true|false)\s*', re.IGNORECASE)
AND = re.compile(r"\s*and\s+", re.IGNORECASE)
MAX_CHARACTERS = 1_000
WORK = re.compile(r'\[\s*type\s+eq\s+"work"\s*\]', re.IGNORECASE)


def lookups(written: str, known: Mapping[str, str]) -> dict[str, Any]:
    """Return the filter as lookups of a queryset; `known` names them by attribute, in small letters.

    Raises ScimError (invalidFilter) for an attribute or an operator that is not among ours.
    """
    if len(written) > MAX_CHARACTERS:
        raise invalid(f"A filter has at most {MAX_CHARACTERS} characters.", "invalidFilter")
    text = WORK.sub("", written)
    found: dict[str, Any] = {}
    position = 0
    while position < len(text) or not found:
        match = ONE.match(text, position)
        path = match["path"].rpartition(":")[2].lower() if match else ""
        if match is None or path not in known:
            names = ", ".join(sorted(known))
            raise invalid(f'Filter by `attribute eq "value"`, joined by `and`, of: {names}.', "invalidFilter")
        found[known[path]] = _value(match["value"])
        position = match.end()
        if position < len(text):
            joined = AND.match(text, position)
            if joined is None:
                raise invalid("Only `and` joins filters here.", "invalidFilter")
            position = joined.end()
    return found


def _value(written: str) -> Any:
    try:
        value = orjson.loads(written if written.startswith('"') else written.lower())
    except orjson.JSONDecodeError:
        raise invalid("The value of a filter is text in quotes, true or false.", "invalidFilter") from None
    if isinstance(value, str) and "\0" in value:
        raise invalid("The value of a filter cannot hold NUL.", "invalidFilter")
    return value
