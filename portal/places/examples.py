"""Refusals of the decision API as a caller gets them: made by the code that refuses, of invented figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from core import clock
from core.money import wire_usd
from gateway.hot.refusals import invalid_key, refused, unavailable
from gateway.hot.wire import Answer, AuthorizeCall

CALL = AuthorizeCall(
    request_id="example",
    request_hash=b"",
    key="",
    model="a-large-model",
    route="/v1/chat/completions",
    mode=None,
    project=None,
    input_bound_tokens=0,
    max_output_tokens=None,
    choices=1,
    context="standard",
    units=None,
)
RATE = {"limit": "requests_per_minute", "scope": "project", "allowed": 60, "seconds": 12, "never": False}
TIER = {"model": CALL.model, "tier": 2, "project": "search-rank", "decided_by": ["team's lead"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What was refused in a sentence that says what to do, and the answer."""

    meaning: str
    answer: Answer


def refusals() -> Iterator[Example]:
    """Give each refusal that a caller has to be ready for."""
    yield Example(
        meaning="The key is unknown, mistyped, revoked or expired. Look at your keys; do not try again.",
        answer=invalid_key(),
    )
    yield Example(
        meaning="The key may not call this model. Ask for its tier at the address in ask.",
        answer=refused("tier_not_granted", TIER, CALL),
    )
    yield Example(
        meaning="Nobody priced the model yet. Tell an administrator.",
        answer=refused("model_unpriced", {"model": CALL.model}, CALL),
    )
    yield Example(
        meaning="The budget is spent until its window ends. Do not try again before; ask for more.",
        answer=refused("budget_exhausted", _budget(spent="499.98", held="0"), CALL),
    )
    yield Example(
        meaning="Calls in flight hold what is left. Wait as long as Retry-After says, then try again.",
        answer=refused("budget_held", _budget(spent="480", held="20"), CALL),
    )
    yield Example(
        meaning="Too many calls or tokens in a minute. Wait as long as Retry-After says.",
        answer=refused("rate_limited", RATE, CALL),
    )
    yield Example(
        meaning="No decision could be made in time, and nothing is booked. Try again after a second.",
        answer=unavailable(),
    )


def _budget(*, spent: str, held: str) -> dict[str, Any]:
    resets_at = (clock.now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    budget = {
        "id": "bdg_0123456789abcdefgh",
        "scope": "project",
        "name": "search-rank",
        "window": "month",
        "limit_usd": wire_usd(Decimal(500)),
        "spent_usd": wire_usd(Decimal(spent)),
        "held_usd": wire_usd(Decimal(held)),
        "resets_at": resets_at.isoformat(),
        "ask": "Ben Okafor",
    }
    seconds = 3 if Decimal(held) else int((resets_at - clock.now()).total_seconds())
    return {"budget": budget, "needed_usd": "0.0412", "opens_at": budget["resets_at"], "seconds": seconds}
