"""`Idempotency-Key`: a call that is repeated has one effect and one answer, however often and however close.

The claim is a row of the transaction that has the effect. A copy that comes meanwhile waits for it at the
unique constraint; a process that is killed before its commit leaves neither effect nor claim; a refusal takes
both back, so the next copy is judged anew. What the act found out in passing is done again then (`lasting`).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.db import OperationalError, transaction
from psycopg.errors import LockNotAvailable

from core import clock
from core.errors import AlreadyDoneError, DomainError, InvalidInputError
from core.models import IdempotentCall

HEADER = "Idempotency-Key"
KEY_PATTERN = r"[!-~]{1,255}"
KEPT = timedelta(days=1)

_Response = TypeVar("_Response")
_lasting: ContextVar[list[Callable[[], object]] | None] = ContextVar("lasting", default=None)


class KeyReusedError(InvalidInputError):
    """The key was used for another call."""

    code = "idempotency_key_reused"
    title = "Idempotency-Key was used before"


class StillRunningError(AlreadyDoneError):
    """The first call with this key has not ended yet."""

    code = "idempotency_key_in_use"
    title = "The first call is still running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer that can be given again."""

    status: int
    body: str = ""
    location: str = ""


def fingerprint(*parts: Any) -> bytes:
    """Return 32 bytes that stand for what was asked; members of objects count in any order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).digest()


def once(
    *,
    caller: str,
    key: str,
    asked: bytes,
    act: Callable[[], _Response],
    keep: Callable[[_Response], Kept | None],
    repeat: Callable[[Kept], _Response],
    refused: Callable[[_Response], bool] = lambda _: False,
) -> _Response:
    """Do `act` once for a caller and key and return its answer, or what `repeat` makes of the kept one.

    `keep` gives what may be kept of the answer; None lets the repeated act answer for itself. Where `refused`
    holds, everything is taken back. Raises InvalidInputError for a key that cannot be, KeyReusedError (422)
    for one that stands for another call, and StillRunningError (409) when the first takes too long.
    """
    if not re.fullmatch(KEY_PATTERN, key):
        raise InvalidInputError(f"An {HEADER} is 1 to 255 visible ASCII characters, such as a UUID.")
    with _lasting_done_again() as taken_back, transaction.atomic():
        call = _claim(caller, key, asked)
        if call.status is not None:
            return repeat(Kept(status=call.status, body=call.body, location=call.location))
        response = act()
        if refused(response):
            transaction.set_rollback(True)
            taken_back()
            return response
        kept = keep(response)
        if kept is not None:
            call.status, call.body, call.location = kept.status, kept.body, kept.location
            call.save(update_fields=["status", "body", "location"])
        return response


def lasting(act: Callable[[], object]) -> None:
    """Do what has to stay also if the call that does it in passing is refused, and so taken back.

    It is then done once more, in a transaction of its own: `act` may run twice.
    """
    act()
    acts = _lasting.get()
    if acts is not None:
        acts.append(act)


@contextmanager
def _lasting_done_again() -> Iterator[Callable[[], None]]:
    """Do again what was done as lasting, if what stands inside raises or calls what is given."""
    acts: list[Callable[[], object]] = []
    again: list[Callable[[], object]] = []
    before = _lasting.set(acts)
    try:
        yield lambda: again.extend(acts)
    except DomainError:
        again = acts
        raise
    finally:
        _lasting.reset(before)
        for act in again:
            act()


def forget() -> int:
    """Delete the calls of more than a day ago and return their number."""
    deleted, _ = IdempotentCall.objects.filter(called_at__lt=clock.now() - KEPT).delete()
    return deleted


def _claim(caller: str, key: str, asked: bytes) -> IdempotentCall:
    """Write or find the row of a call, and lock it: a copy waits here until the first has ended."""
    mine = IdempotentCall(caller=caller, key=key, fingerprint=asked, called_at=clock.now())
    try:
        IdempotentCall.objects.bulk_create([mine], ignore_conflicts=True)
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise StillRunningError("The first call with this key is still running. Ask again soon.") from error
    rows = IdempotentCall.objects.select_for_update(no_key=True).order_by("pk")
    call = rows.get(caller=caller, key=key)
    if bytes(call.fingerprint) != asked:
        raise KeyReusedError(f"This {HEADER} was used for another call. Use a new one for each call.")
    return call
