"""What each decision call does: a checked request becomes items of a batch, and their rows become its answer.

Pure of I/O: `ask_of` checks a request, `statement` joins asks of one kind into one SQL statement, and
`answers` reads its rows. The caller runs it: batched in hot/combiner.py, one by one in views.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from django.conf import settings

from core.errors import DomainError
from core.ids import new_ordered_id
from core.money import wire_usd
from gateway.auth import Credential
from gateway.hot.fields import JsonObject
from gateway.hot.holds import hold_seconds
from gateway.hot.refusals import (
    already_settled,
    invalid_key,
    refused,
    replayed,
    settlement_conflict,
    unknown_reservation,
)
from gateway.hot.wire import (
    OK,
    Answer,
    AuthorizeCall,
    parse_authorize,
    parse_release,
    parse_settlements,
    refusal,
)
from keys import secrets

AUTHORIZE_SQL = """
SELECT place, code, answer::text FROM gateway_authorize(%s::jsonb, %s::float8[])
"""
SETTLE_SQL = "SELECT place, status, charged_usd, held_usd FROM gateway_settle(%s::jsonb, %s::jsonb, %s)"

Row = Sequence[Any]


class Kind(StrEnum):
    """What can be asked together in one statement."""

    AUTHORIZE = "authorize"
    SETTLE = "settle"


@dataclass(slots=True, kw_only=True)
class Ask:
    """One checked request: its items for the database, one row each, and how those rows are read."""

    kind: Kind
    gateway_id: int
    nonce: str
    items: list[JsonObject]
    answer: Callable[[Sequence[Row]], Answer]


def ask_authorize(body: bytes, *, credential: Credential, nonce: str) -> Ask | Answer:
    """Check one authorisation; a key that cannot be one is answered without a database. Raises WireError."""
    call = parse_authorize(body)
    if not secrets.is_wellformed(call.key):
        return invalid_key()
    item = authorize_item(call, credential=credential, nonce=nonce)
    return Ask(
        kind=Kind.AUTHORIZE,
        gateway_id=credential.gateway_id,
        nonce=nonce,
        items=[item],
        answer=lambda rows: _authorize_answer(rows[0], call),
    )


def authorize_item(call: AuthorizeCall, *, credential: Credential, nonce: str) -> JsonObject:
    """Return a checked call as `gateway_callers` reads it."""
    return {
        "gateway": credential.gateway_id,
        "nonce": nonce,
        "source": credential.public_id,
        "request_id": call.request_id,
        "request_hash": _bytea(call.request_hash),
        "reservation": new_ordered_id("rsv"),
        "digests": [_bytea(digest) for digest in secrets.digests(call.key)],
        "model": call.model,
        "mode": call.mode,
        "route": call.route,
        "project": call.project,
        "input": call.input_bound_tokens,
        "max_output": call.max_output_tokens,
        "choices": call.choices,
        "context": call.context,
        "units": call.units,
    }


def ask_settle(body: bytes, *, credential: Credential, nonce: str) -> Ask | Answer:
    """Check one settlement or a batch. Raises WireError or UsageInvalidError."""
    items, is_batch = parse_settlements(body)
    good = [{**item, "source": credential.public_id} for item in items if not isinstance(item, DomainError)]
    if not good:
        return _settle_answer([], items, is_batch)
    return Ask(
        kind=Kind.SETTLE,
        gateway_id=credential.gateway_id,
        nonce=nonce,
        items=good,
        answer=lambda rows: _settle_answer(rows, items, is_batch),
    )


def ask_release(body: bytes, *, credential: Credential, nonce: str) -> Ask:
    """Check one release: a settlement that consumed nothing. Raises WireError."""
    reservation = parse_release(body)
    return Ask(
        kind=Kind.SETTLE,
        gateway_id=credential.gateway_id,
        nonce=nonce,
        items=[{"source": credential.public_id, "reservation": reservation, "release": True}],
        answer=lambda rows: _release_answer(rows[0][1], reservation),
    )


ASKS: Mapping[str, Callable[..., Ask | Answer]] = {
    "/gateway/v1/authorize": ask_authorize,
    "/gateway/v1/settle": ask_settle,
    "/gateway/v1/release": ask_release,
}


def statement(kind: Kind, asks: Sequence[Ask]) -> tuple[str, tuple[Any, ...]]:
    """Return the one statement, with its parameters, that answers all of these asks."""
    if kind is Kind.AUTHORIZE:
        calls = [ask.items[0] for ask in asks]
        kinds = [(call["route"], call["context"]) for call in calls]
        seconds = {kind: hold_seconds(*kind) for kind in set(kinds)}
        return AUTHORIZE_SQL, (orjson.dumps(calls).decode(), _array(seconds[kind] for kind in kinds))
    signatures = [{"gateway": ask.gateway_id, "nonce": ask.nonce} for ask in asks]
    items = [{**item, "signature": place} for place, ask in enumerate(asks, 1) for item in ask.items]
    return SETTLE_SQL, (
        orjson.dumps(signatures).decode(),
        orjson.dumps(items).decode(),
        settings.TIME_ZONE,
    )


def answers(asks: Sequence[Ask], rows: Sequence[Row]) -> list[Answer]:
    """Return the answer to each ask from the rows of their statement, which come in any order."""
    by_place = sorted(rows, key=lambda row: row[0])
    found = []
    first = 0
    for ask in asks:
        last = first + len(ask.items)
        found.append(ask.answer(by_place[first:last]))
        first = last
    return found


def _array(values: Iterable[float]) -> str:
    """Write an array as PostgreSQL reads it, which is faster than psycopg's for the list of a batch."""
    return "{" + ",".join(map(str, values)) + "}"


def _bytea(value: bytes) -> str:
    return "\\x" + value.hex()


def _authorize_answer(row: Row, call: AuthorizeCall) -> Answer:
    _, code, answer = row
    if code == "allow":
        return Answer(status=OK, body=answer.encode())
    return refused(code, orjson.loads(answer) if answer else {}, call)


def _settle_answer(rows: Sequence[Row], items: list[JsonObject | DomainError], is_batch: bool) -> Answer:
    if rows and rows[0][1] == "gateway_signature_replayed":
        return replayed()
    found = iter(rows)
    results = [
        _refused_item(item) if isinstance(item, DomainError) else _settled_item(item, next(found))
        for item in items
    ]
    if is_batch:
        return Answer(status=OK, body={"results": results})
    result = results[0]
    match result["status"]:
        case "unknown":
            return refusal(unknown_reservation())
        case "conflict":
            return refusal(settlement_conflict(charged_usd=result["charged_usd"]))
        case _:
            told = ("reservation", "status", "charged_usd", "held_usd")
            return Answer(status=OK, body={name: result[name] for name in told})


def _refused_item(error: DomainError) -> JsonObject:
    return {
        "reservation": None,
        "status": "invalid",
        "code": error.code,
        "detail": error.detail,
        "charged_usd": None,
        "held_usd": None,
    }


def _settled_item(item: JsonObject, row: Row) -> JsonObject:
    _, status, charged_usd, held_usd = row
    charged = wire_usd(charged_usd) if charged_usd is not None else None
    error = None
    if status == "unknown":
        error = unknown_reservation()
    elif status == "conflict":
        error = settlement_conflict(charged_usd=charged)
    return {
        "reservation": item["reservation"],
        "status": status,
        "code": error.code if error else None,
        "detail": error.detail if error else None,
        "charged_usd": charged,
        "held_usd": wire_usd(held_usd) if held_usd is not None else None,
    }


def _release_answer(status: str, reservation: str) -> Answer:
    match status:
        case "gateway_signature_replayed":
            return replayed()
        case "unknown":
            return refusal(unknown_reservation())
        case "already_settled":
            return refusal(already_settled())
        case _:
            return Answer(status=OK, body={"reservation": reservation, "status": status})
