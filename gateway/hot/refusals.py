"""What a refused caller reads: one stable code, one status, one sentence that says what to do."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from django.conf import settings

from core.errors import DomainError
from core.money import format_usd
from gateway.auth import GatewaySignatureError
from gateway.hot.wire import Answer, AuthorizeCall, refusal

# A key holder is told what his key and project spent; of wider scopes only that they refuse, and until when.
OWN_SCOPES = frozenset({"key", "project"})
TOTALS = ("limit_usd", "spent_usd", "held_usd")
RATES = {
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "parallel_calls": "calls at once",
}

# code -> (status, title, sentence). `{fact}` comes from the database, `{call.x}` from the question,
# `{base}` is the portal's address.
REFUSALS: Mapping[str, tuple[HTTPStatus, str, str]] = {
    "request_id_reused": (
        HTTPStatus.CONFLICT,
        "Request id reused",
        "This request_id was used for another call. Make a new one for each call.",
    ),
    "key_suspended": (
        HTTPStatus.FORBIDDEN,
        "Key suspended",
        (
            "Key {key_name} is suspended. {leads} can resume it at {base}/keys/{key_id}/. "
            "Why: {suspended_reason}"
        ),
    ),
    "project_mismatch": (
        HTTPStatus.FORBIDDEN,
        "Project mismatch",
        (
            "This key is for project {project}, not {call.project}. "
            "Send its own project-id or use a key of that project."
        ),
    ),
    "route_not_allowed": (
        HTTPStatus.FORBIDDEN,
        "Route not allowed",
        "Route {call.route} is not metered and therefore refused. Ask an administrator if you need it.",
    ),
    "model_unknown": (
        HTTPStatus.NOT_FOUND,
        "Model unknown",
        "There is no model {call.model} for this route. See {base}/models/ for the names.",
    ),
    "model_unpriced": (
        HTTPStatus.FORBIDDEN,
        "Model without a price",
        (
            "Model {model} has no price in force, and what has no price is not called. "
            "An administrator can add one at {base}/models/unpriced/."
        ),
    ),
    "lease_not_offered": (
        HTTPStatus.CONFLICT,
        "Lease not offered",
        (
            "Calls of {model} with this key are decided one by one: a rate or an open unit bounds them. "
            "Ask for each with /gateway/v1/authorize."
        ),
    ),
    "use_unbounded": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Use without a bound",
        (
            "Nothing bounds what this call of {model} may use. Send `units` with the most it can use, "
            "or have an administrator configure a hold for the model."
        ),
    ),
    "tier_not_granted": (
        HTTPStatus.FORBIDDEN,
        "Tier not granted",
        (
            "Model {model} is in Tier {tier}, which this key may not call. "
            "Ask for it at {ask}; {deciders} on it."
        ),
    ),
}


class DecisionError(DomainError):
    """A refusal of the decision API, by its code."""

    def __init__(self, code: str, status: HTTPStatus, title: str, detail: str, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.code, self.status, self.title = code, status, title


def refused(code: str, facts: Mapping[str, Any], call: AuthorizeCall) -> Answer:
    """Return the refusal of a call whose key is known (or whose request id is not new)."""
    if code == "invalid_api_key":
        return invalid_key()
    if code == "gateway_signature_replayed":
        return replayed()
    if code == "rate_limited":
        return _rate_refusal(facts)
    if code in ("budget_exhausted", "budget_held"):
        return _budget_refusal(code, facts)
    status, title, sentence = REFUSALS[code]
    ask = f"{settings.BASE_URL}/approvals/ask/?project={facts.get('project')}&tier={facts.get('tier')}"
    roles = facts.get("decided_by") or []
    deciders = f"the {', then the '.join(roles)} decides" if roles else "nobody decides yet"
    told = {**facts, "leads": facts.get("leads") or "An administrator"}
    detail = sentence.format(**told, call=call, base=settings.BASE_URL, ask=ask, deciders=deciders)
    extra = {"tier": facts["tier"], "ask": ask, "decided_by": roles} if code == "tier_not_granted" else {}
    return refusal(DecisionError(code, status, title, detail, **extra))


def invalid_key() -> Answer:
    """Return the one body for an unknown, malformed, revoked or expired key."""
    detail = f"This key is not valid. See your keys at {settings.BASE_URL}/keys/ or issue a new one there."
    return refusal(DecisionError("invalid_api_key", HTTPStatus.UNAUTHORIZED, "Invalid API key", detail))


def unavailable() -> Answer:
    """Return the answer when the database did not: fail closed, come back soon."""
    detail = "No answer came in time. Ask again with the same body: what came through counts once."
    error = DecisionError(
        "decision_unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "Decision unavailable", detail
    )
    return refusal(error, retry_after_seconds=1)


def replayed() -> Answer:
    """Return the answer to a signature that was used before."""
    detail = "This signature was used before. Sign each request with a new nonce."
    return refusal(GatewaySignatureError("gateway_signature_replayed", detail))


def unknown_reservation() -> DecisionError:
    """Return the refusal of a reservation that this gateway does not hold."""
    detail = "This gateway holds no such reservation."
    return DecisionError("reservation_unknown", HTTPStatus.NOT_FOUND, "Reservation unknown", detail)


def unknown_lease() -> DecisionError:
    """Return the refusal of a lease that this gateway does not hold."""
    return DecisionError(
        "lease_unknown", HTTPStatus.NOT_FOUND, "Lease unknown", "This gateway holds no such lease."
    )


def already_settled() -> DecisionError:
    """Return the refusal to release what was charged."""
    detail = "This call was settled; what was charged stands."
    return DecisionError("already_settled", HTTPStatus.CONFLICT, "Already settled", detail)


def settlement_conflict(*, charged_usd: str | None) -> DecisionError:
    """Return the refusal of other figures than were settled first."""
    detail = "Other figures were settled before and stand. The difference is kept for a person to look at."
    return DecisionError(
        "settlement_conflict", HTTPStatus.CONFLICT, "Settlement conflict", detail, charged_usd=charged_usd
    )


def in_utc(moment: str) -> str:
    """Write a moment as the database gave it in UTC, ending in Z."""
    return datetime.fromisoformat(moment).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _rate_refusal(facts: Mapping[str, Any]) -> Answer:
    """Refuse a call that comes too fast; one that no wait can make fit must not be tried again as it is."""
    limit = f"{facts['allowed']} {RATES[facts['limit']]}"
    told = {"limit": facts["limit"], "scope": facts["scope"], "allowed": facts["allowed"]}
    if facts["never"]:
        detail = (
            f"This call may use {facts['needed_tokens']} tokens, more than the {limit} "
            f"of this {facts['scope']}. Lower max_tokens or shorten the input."
        )
    else:
        detail = f"This {facts['scope']} may make {limit}. Try again in {facts['seconds']} s."
    error = DecisionError(
        "rate_limited", HTTPStatus.TOO_MANY_REQUESTS, "Rate limited", detail, rate_limit=told
    )
    return refusal(error, retry_after_seconds=int(facts["seconds"]), should_retry=not facts["never"])


def _budget_refusal(code: str, facts: Mapping[str, Any]) -> Answer:
    """Refuse a call that does not fit a budget: until it has room again, or until calls in flight settle."""
    told, seconds = dict(facts["budget"]), int(facts["seconds"])
    ask, ends_at = told.pop("ask") or "the team's lead", told["resets_at"]
    told["resets_at"] = None if told["window"] == "lifetime" else in_utc(ends_at)
    told["link"] = f"{settings.BASE_URL}/budgets/{told['id']}/"
    is_own = told["scope"] in OWN_SCOPES
    limit, spent, held = (Decimal(told[name]) for name in TOTALS)
    if not is_own:
        told = {name: value for name, value in told.items() if name not in TOTALS}
    window = told["window"].replace("_", " ")
    name = f"The {window} budget of {told['scope']} {told['name']}"
    needed = format_usd(Decimal(facts["needed_usd"]), places=4)
    if code == "budget_exhausted":
        has = (
            f" ({format_usd(limit)}) has {format_usd(limit - spent, places=4)} left"
            if is_own
            else " is spent"
        )
        detail = (
            f"{name}{has} and this call may cost {needed}. "
            f"{_opening(facts['opens_at'], ends_at, told['resets_at'])} "
            f"Ask {ask} to raise it at {told['link']}."
        )
        error = DecisionError(code, HTTPStatus.TOO_MANY_REQUESTS, "Budget exhausted", detail, budget=told)
        return refusal(error, retry_after_seconds=seconds, should_retry=False)
    by = f" ({format_usd(held, places=4)} of {format_usd(limit)})" if is_own else ""
    detail = (
        f"{name} is held by calls in flight{by}. "
        f"This call may cost {needed} and fits when they settle low. Try again."
    )
    error = DecisionError(
        code, HTTPStatus.TOO_MANY_REQUESTS, "Budget held by calls in flight", detail, budget=told
    )
    return refusal(error, retry_after_seconds=seconds, should_retry=True)


def _opening(opens_at: str, ends_at: str, resets_at: str | None) -> str:
    """Say when a spent budget has room again: by a limit that is planned, or when its window ends."""
    if opens_at != ends_at:
        return f"A higher limit is planned for {in_utc(opens_at)}."
    return f"It resets at {resets_at}." if resets_at else "It never resets."
