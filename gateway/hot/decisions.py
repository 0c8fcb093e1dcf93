"""What each decision call does: a checked request becomes one SQL statement, and its row becomes an answer.

Pure of I/O: `plan_*` gives the statement, the caller runs it (async in hot/asgi.py, sync in views.py),
`Plan.answer` reads the row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings

from core.errors import DomainError
from core.money import wire_usd
from gateway.auth import Credential
from gateway.hot.refusals import (
    already_settled,
    in_utc,
    invalid_key,
    refused,
    replayed,
    settlement_conflict,
    unknown_reservation,
)
from gateway.hot.wire import (
    Answer,
    AuthorizeCall,
    JsonObject,
    parse_authorize,
    parse_release,
    parse_settlements,
    refusal,
)
from keys import secrets

AUTHORIZE_SQL = """
SELECT code, facts::text FROM gateway_authorize(
  %s, %s, %s, %s, %s, %s::bytea[], %s, %s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s))
"""
SETTLE_SQL = """
SELECT place, status, charged_usd, held_usd FROM gateway_settle(%s, %s, %s, %s::jsonb, %s) ORDER BY place
"""
RELEASE_SQL = "SELECT gateway_release(%s, %s, %s, %s, %s)"

Row = Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One statement and how its rows are read."""

    sql: str
    params: Sequence[Any]
    answer: Callable[[Sequence[Row]], Answer]


def plan_authorize(body: bytes, *, credential: Credential, nonce: str) -> Plan | Answer:
    """Plan one authorisation; a key that cannot be one is answered without a database. Raises WireError."""
    call = parse_authorize(body)
    if not secrets.is_wellformed(call.key):
        return invalid_key()
    params = (
        credential.gateway_id,
        credential.public_id,
        nonce,
        call.request_id,
        call.request_hash,
        secrets.digests(call.key),
        call.model,
        call.mode,
        call.route,
        call.project,
        call.input_bound_tokens,
        call.max_output_tokens,
        call.choices,
        call.context,
        float(settings.HOLD_SECONDS),
    )
    return Plan(sql=AUTHORIZE_SQL, params=params, answer=lambda rows: _authorize_answer(rows[0], call))


def plan_settle(body: bytes, *, credential: Credential, nonce: str) -> Plan:
    """Plan one settlement or a batch. Raises WireError or UsageInvalidError."""
    items, is_batch = parse_settlements(body)
    good = [item for item in items if not isinstance(item, DomainError)]
    params = (
        credential.gateway_id,
        credential.public_id,
        nonce,
        orjson.dumps(good).decode(),
        settings.TIME_ZONE,
    )
    return Plan(sql=SETTLE_SQL, params=params, answer=lambda rows: _settle_answer(rows, items, is_batch))


def plan_release(body: bytes, *, credential: Credential, nonce: str) -> Plan:
    """Plan one release. Raises WireError."""
    reservation = parse_release(body)
    params = (credential.gateway_id, credential.public_id, nonce, reservation, settings.TIME_ZONE)
    return Plan(sql=RELEASE_SQL, params=params, answer=lambda rows: _release_answer(rows[0][0], reservation))


PLANS: dict[str, Callable[..., Plan | Answer]] = {
    "/gateway/v1/authorize": plan_authorize,
    "/gateway/v1/settle": plan_settle,
    "/gateway/v1/release": plan_release,
}


def _authorize_answer(row: Row, call: AuthorizeCall) -> Answer:
    code, facts = row[0], orjson.loads(row[1]) if row[1] else {}
    if code == "allow":
        return Answer(
            status=HTTPStatus.OK,
            body={"decision": "allow", **facts, "expires_at": in_utc(facts["expires_at"])},
        )
    return refused(code, facts, call)


def _settle_answer(rows: Sequence[Row], items: list[JsonObject | DomainError], is_batch: bool) -> Answer:
    if rows and rows[0][1] == "gateway_signature_replayed":
        return replayed()
    found = iter(rows)
    results = [
        _refused_item(item) if isinstance(item, DomainError) else _settled_item(item, next(found))
        for item in items
    ]
    if is_batch:
        return Answer(status=HTTPStatus.OK, body={"results": results})
    result = results[0]
    match result["status"]:
        case "unknown":
            return refusal(unknown_reservation())
        case "conflict":
            return refusal(settlement_conflict(charged_usd=result["charged_usd"]))
        case _:
            told = ("reservation", "status", "charged_usd", "held_usd")
            return Answer(status=HTTPStatus.OK, body={name: result[name] for name in told})


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
    errors = {"unknown": unknown_reservation(), "conflict": settlement_conflict(charged_usd=charged)}
    error = errors.get(status)
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
            return Answer(status=HTTPStatus.OK, body={"reservation": reservation, "status": status})
