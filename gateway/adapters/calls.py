"""Reads an address that answers JSON, and says in words for people what went wrong where it does not."""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from core import clock, outbound
from core.outbound import Answer, UnsafeAddressError
from core.references import SecretReferenceError, read_secret
from usage.ports import SourceUnavailableError

MOST_BYTES = 16 * 1024 * 1024
AGENT = "Purser"
REFUSED: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "refused the admin key",
    HTTPStatus.FORBIDDEN: "does not allow the admin key to read this",
    HTTPStatus.TOO_MANY_REQUESTS: "asks to be called less often",
}


def secret_of(reference: str) -> str:
    """Return the admin key that a reference leads to. Raises SourceUnavailableError."""
    if not reference:
        raise SourceUnavailableError("No admin credential is entered for it.")
    try:
        return read_secret(reference)
    except SecretReferenceError as error:
        raise SourceUnavailableError(f"The admin credential is missing. {error}") from error


def read_json(url: str, *, who: str, headers: Mapping[str, str], networks: Collection[str]) -> dict[str, Any]:
    """Return the object at an address, its numbers exact. Raises SourceUnavailableError.

    What the other side says in a refusal is not repeated: it may name secrets.
    """
    asked = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": AGENT, **headers}
    try:
        answer = outbound.get(url, headers=asked, networks=networks, most_bytes=MOST_BYTES)
    except UnsafeAddressError as error:
        raise SourceUnavailableError(f"The address of {who} may not be called: {error}") from error
    except (OSError, HTTPException) as error:
        raise SourceUnavailableError(f"{who} cannot be reached ({type(error).__name__}).") from error
    return _document(answer, who)


def _document(answer: Answer, who: str) -> dict[str, Any]:
    if answer.status != HTTPStatus.OK:
        raise SourceUnavailableError(
            f"{who} {REFUSED.get(answer.status, 'answered')} ({answer.status}).",
            retry_after_seconds=_retry_after(answer.headers.get("retry-after", "")),
        )
    if answer.cut:
        large = len(answer.body) >= MOST_BYTES
        why = f"is larger than {MOST_BYTES // 1024**2} MiB" if large else "broke off"
        raise SourceUnavailableError(f"The answer of {who} {why}.")
    try:
        document = json.loads(answer.body, parse_float=Decimal, parse_constant=_no_number)
    except ValueError as error:
        raise SourceUnavailableError(f"{who} answered with something that is not JSON.") from error
    if not isinstance(document, dict):
        raise SourceUnavailableError(f"{who} answered with something that is not a report.")
    return document


def _no_number(name: str) -> None:
    raise ValueError(name)


def _retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After header, whichever of its two forms it has."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - clock.now()).total_seconds())


def whole_number(row: Mapping[str, Any], name: str, *, who: str) -> int:
    """Return a count of a report, 0 for one that is missing. Raises SourceUnavailableError."""
    value = row.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SourceUnavailableError(f"{who} reports {name} that is no count.")
    return value


def number(row: Mapping[str, Any], name: str, *, who: str) -> int | float:
    """Return what a report counts of something that has parts, such as seconds; 0 for one that is missing.

    Raises SourceUnavailableError.
    """
    value = row.get(name)
    if isinstance(value, Decimal) and value >= 0:
        return float(value)
    return whole_number(row, name, who=who)


def text_of(row: Mapping[str, Any], name: str, *, most: int = 100) -> str:
    """Return a text of a report, empty for one that is null, without what the database cannot keep."""
    value = row.get(name)
    return str(value).replace("\x00", "")[:most] if value is not None else ""


def moment_of(text: str) -> datetime:
    """Return a moment that was written as RFC 3339; one without an offset is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
