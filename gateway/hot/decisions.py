"""What each decision call does: a checked request becomes one SQL statement, and its row becomes an answer.

Pure of I/O: `plan_*` gives the statement, the caller runs it (async in hot/asgi.py, sync in views.py), `Plan.answer` reads the row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings

from core.errors import DomainError
from core.money import format_usd, wire_usd
from gateway.auth import Credential, GatewaySignatureError
from gateway.hot.wire import (
    Answer,
    AuthorizeCall,
    JsonObject,
    parse_authorize,
    parse_release,
    parse_settlements,
    refusal,
    usd,
)
from keys import secrets

AUTHORIZE_SQL = (
    "SELECT code, facts::text FROM gateway_authorize(%s, %s, %s, %s, %s, %s::bytea[], %s, %s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s))"
)
SETTLE_SQL = "SELECT place, status, charged_usd, held_usd FROM gateway_settle(%s, %s, %s, %s::jsonb, %s) ORDER BY place"
RELEASE_SQL = "SELECT gateway_release(%s, %s, %s, %s, %s)"

HELD_RETRY_SECONDS = 2  # a hold lives for seconds; a client that honours this finds it settled or waits again
Row = Sequence[Any]


class DecisionError(DomainError):
    """A refusal of the decision API, by its code."""

    def __init__(self, code: str, status: HTTPStatus, title: str, detail: str, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.code, self.status, self.title = code, status, title


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One statement and how its rows are read."""

    sql: str
    params: Sequence[Any]
    answer: Callable[[Sequence[Row]], Answer]


def unavailable(detail: str = "No decision could be made in time. Nothing is booked; try again.") -> Answer:
    """Return the answer when the database did not: fail closed, come back soon."""
    error = DecisionError("decision_unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "Decision unavailable", detail)
    return refusal(error, retry_after_seconds=1)


def invalid_key() -> Answer:
    """Return the one body for an unknown, malformed, revoked or expired key."""
    return refusal(
        DecisionError(
            "invalid_api_key",
            HTTPStatus.UNAUTHORIZED,
            "Invalid API key",
            f"This key is not valid. See your keys at {settings.BASE_URL}/keys/ or issue a new one there.",
        )
    )


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
    params = (credential.gateway_id, credential.public_id, nonce, orjson.dumps(good).decode(), settings.TIME_ZONE)
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
        return Answer(status=HTTPStatus.OK, body={"decision": "allow", **facts, "expires_at": _utc(facts["expires_at"])})
    if code == "invalid_api_key":
        return invalid_key()
    if code in ("budget_exhausted", "budget_held"):
        return _budget_answer(code, facts)
    return _refused(code, facts, call)


def _refused(code: str, facts: JsonObject, call: AuthorizeCall) -> Answer:
    ask = f"{settings.BASE_URL}/approvals/ask/?project={facts.get('project')}&tier={facts.get('tier')}"
    refusals: dict[str, tuple[HTTPStatus, str, str]] = {
        "gateway_signature_replayed": (HTTPStatus.UNAUTHORIZED, "Gateway signature refused", "This signature was used before. Sign each request with a new nonce."),
        "request_id_reused": (HTTPStatus.CONFLICT, "Request id reused", "This request_id was used for another call. Make a new one for each call."),
        "key_suspended": (HTTPStatus.FORBIDDEN, "Key suspended", f"Key {facts.get('key_name')} is suspended: {facts.get('suspended_reason')}. The team's lead can resume it at {settings.BASE_URL}/keys/."),
        "project_mismatch": (HTTPStatus.FORBIDDEN, "Project mismatch", f"This key is for project {facts.get('project')}, not {call.project}. Send its own project-id or use a key of that project."),
        "route_not_allowed": (HTTPStatus.FORBIDDEN, "Route not allowed", f"Route {call.route} is not metered and therefore refused. Ask an administrator if you need it."),
        "model_unknown": (HTTPStatus.NOT_FOUND, "Model unknown", f"There is no model {call.model} for this route. See {settings.BASE_URL}/models/ for the names."),
        "model_unpriced": (HTTPStatus.FORBIDDEN, "Model without a price", f"Model {facts.get('model')} has no price in force, and what has no price is not called. An administrator can add one."),
        "tier_not_granted": (HTTPStatus.FORBIDDEN, "Tier not granted", f"Model {facts.get('model')} is in Tier {facts.get('tier')}, which this key may not call. Ask for it at {ask}; the page says who decides."),
    }  # fmt: skip
    status, title, detail = refusals[code]
    extra = {"tier": facts["tier"], "ask": ask} if code == "tier_not_granted" else {}
    return refusal(DecisionError(code, status, title, detail, **extra))


def _budget_answer(code: str, facts: JsonObject) -> Answer:
    budget = facts["budget"]
    ask, seconds = budget.pop("ask"), budget.pop("seconds_to_reset")
    budget["resets_at"] = _utc(budget["resets_at"])
    budget["link"] = f"{settings.BASE_URL}/budgets/{budget['id']}/"
    name = f"The {budget['window'].replace('_', ' ')} budget of {budget['scope']} {budget['name']} ({format_usd(usd(budget['limit_usd']))})"
    needed = format_usd(usd(facts["needed_usd"]), places=4)
    if code == "budget_exhausted":
        who = ask or "the team's lead"
        detail = (
            f"{name} has {format_usd(usd(budget['limit_usd']) - usd(budget['spent_usd']), places=4)} left and this call may cost {needed}. "
            f"It resets at {budget['resets_at']}. Ask {who} to raise it at {budget['link']}."
        )
        error = DecisionError(code, HTTPStatus.TOO_MANY_REQUESTS, "Budget exhausted", detail, budget=budget)
        return refusal(error, retry_after_seconds=seconds, should_retry=False)
    detail = f"{name} is held by calls in flight ({format_usd(usd(budget['held_usd']), places=4)}). This call may cost {needed} and fits when they settle low. Try again."
    error = DecisionError(code, HTTPStatus.TOO_MANY_REQUESTS, "Budget held by calls in flight", detail, budget=budget)
    return refusal(error, retry_after_seconds=HELD_RETRY_SECONDS, should_retry=True)


def _settle_answer(rows: Sequence[Row], items: list[JsonObject | DomainError], is_batch: bool) -> Answer:
    if rows and rows[0][1] == "gateway_signature_replayed":
        return replayed()
    found = iter(rows)
    results = [_settle_result(item, None if isinstance(item, DomainError) else next(found)) for item in items]
    if is_batch:
        return Answer(status=HTTPStatus.OK, body={"results": results})
    result = results[0]
    match result["status"]:
        case "unknown":
            return refusal(_unknown_reservation())
        case "conflict":
            return refusal(DecisionError("settlement_conflict", HTTPStatus.CONFLICT, "Settlement conflict", result["detail"], charged_usd=result["charged_usd"]))
        case _:
            return Answer(status=HTTPStatus.OK, body={name: result[name] for name in ("reservation", "status", "charged_usd", "held_usd")})


def _settle_result(item: JsonObject | DomainError, row: Row | None) -> JsonObject:
    if isinstance(item, DomainError):
        return {"reservation": None, "status": "invalid", "code": item.code, "detail": item.detail, "charged_usd": None, "held_usd": None}
    assert row is not None  # noqa: S101  one row per good item is the contract of gateway_settle
    status = row[1]
    details = {
        "unknown": _unknown_reservation().detail,
        "conflict": "Other figures were settled before and stand. The difference is kept for a person to look at.",
    }
    codes = {"unknown": "reservation_unknown", "conflict": "settlement_conflict"}
    return {
        "reservation": item["reservation"],
        "status": status,
        "code": codes.get(status),
        "detail": details.get(status),
        "charged_usd": wire_usd(row[2]) if row[2] is not None else None,
        "held_usd": wire_usd(row[3]) if row[3] is not None else None,
    }


def _release_answer(status: str, reservation: str) -> Answer:
    match status:
        case "gateway_signature_replayed":
            return replayed()
        case "unknown":
            return refusal(_unknown_reservation())
        case "already_settled":
            return refusal(DecisionError("already_settled", HTTPStatus.CONFLICT, "Already settled", "This call was settled; what was charged stands."))
        case _:
            return Answer(status=HTTPStatus.OK, body={"reservation": reservation, "status": status})


def replayed() -> Answer:
    """Return the answer to a signature that was used before."""
    return refusal(GatewaySignatureError("gateway_signature_replayed", "This signature was used before. Sign each request with a new nonce."))


def _unknown_reservation() -> DecisionError:
    return DecisionError("reservation_unknown", HTTPStatus.NOT_FOUND, "Reservation unknown", "This gateway holds no such reservation.")


def _utc(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat().replace("+00:00", "Z")
