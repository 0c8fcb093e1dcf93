"""What a row that could not be booked says, as far as it can be read: for people, and for a form. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from usage.redaction import redacted
from usage.tokens import TOKEN_FIELDS

MOST_FACTS = 60
MOST_CHARACTERS = 500
MOST_DEPTH = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One value of a row and the names that lead to it, such as `usage.input_tokens`."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The call that a row tells of; what cannot be read is empty, never guessed."""

    external_id: str
    at: datetime | None
    key: str
    model: str
    tokens: Mapping[str, int | None]
    finish: str


def facts(row: Any) -> tuple[Fact, ...]:
    """Return the values of a row in their order, without secrets, 60 at most."""
    found: list[Fact] = []
    for name, value in _flat(redacted(row), "", 0):
        if len(found) == MOST_FACTS:
            break
        text = value if len(value) <= MOST_CHARACTERS else f"{value[:MOST_CHARACTERS]}…"
        found.append(Fact(name=name or "row", value=text))
    return tuple(found)


def told(row: Any, *, external_id: str) -> Told:
    """Return the call of a row: a line of a journal or of a push, or a settlement that came too late."""
    values = row if isinstance(row, dict) else {}
    usage = values.get("usage")
    counts = usage if isinstance(usage, dict) else values
    return Told(
        external_id=external_id or _text(values, "external_id", "id", "reservation"),
        at=_moment(values.get("at")),
        key=_text(values, "key", "key_id"),
        model=_text(values, "served_model", "model"),
        tokens={name: _count(counts.get(name, 0)) for name in TOKEN_FIELDS},
        finish=_text(values, "finish"),
    )


def _flat(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth < MOST_DEPTH and isinstance(value, dict) and value:
        for inner_name, inner in value.items():
            yield from _flat(inner, f"{name}.{inner_name}" if name else inner_name, depth + 1)
    elif depth < MOST_DEPTH and isinstance(value, list) and value:
        for place, inner in enumerate(value, 1):
            yield from _flat(inner, f"{name}[{place}]", depth + 1)
    else:
        yield name, "—" if value is None else str(value)


def _text(values: Mapping[str, Any], *names: str) -> str:
    found = (values.get(name) for name in names)
    return next((text for text in found if isinstance(text, str) and text), "")[:100]


def _count(value: Any) -> int | None:
    """Return a count of tokens that can be one; None asks the person."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(value))
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None
