"""What a worker holds under leases: the leases, their paths, and what each call took."""

import secrets
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from .bodies import EMBEDDING, ROUTES, Question
from .calls import Call, Exchange
from .journal import Position
from .terms import Decided, Terms, wire_usd

BUSY_CALLS = 3  # as many calls within BUSY_SECONDS make a key and model worth a lease
BUSY_SECONDS = 10.0
MOST_CHOICES = 128  # as many as the portal reads

PathName = tuple[str | None, str, bool]  # a key's fingerprint, a model, whether it embeds


@dataclass(slots=True)
class Hold:
    """What one call took. `position` is where the journal tells of its end, None while it does not.

    `leased` is what tells the portal of the call while it is in flight; `heard` is whether the portal has
    heard of it, and so holds the money for the call itself.
    """

    usd: Decimal
    leased: Mapping[str, object] = field(default_factory=dict)
    position: Position | None = None
    ended: bool = False
    heard: bool = False


@dataclass(slots=True)
class Lease:
    """One lease. Times are of the monotonic clock.

    `size_usd` is what was left after the last top-up, `scarce` whether it was less than wanted, `kept_usd`
    what was kept when it was last given back.
    """

    id: str
    terms: Terms
    left_usd: Decimal = Decimal(0)
    size_usd: Decimal = Decimal(0)
    scarce: bool = False
    seconds: float = 0.0
    ends_at: float = 0.0
    stopped: bool = False
    kept_usd: Decimal | None = None
    holds: dict[str, Hold] = field(default_factory=dict)

    def is_low(self, now: float) -> bool:
        """Whether less than a third of the money or of the time is left."""
        return self.left_usd * 3 < self.size_usd or (self.ends_at - now) * 3 < self.seconds

    def owed_usd(self) -> Decimal:
        """Return what the calls hold that the portal has not heard of."""
        return sum((hold.usd for hold in self.holds.values() if not hold.heard), start=Decimal(0))

    def in_flight(self) -> dict[str, Hold]:
        """Return the calls in flight that the portal has not heard of, by their reservations."""
        return {name: hold for name, hold in self.holds.items() if not hold.ended and not hold.heard}


def new_wish() -> str:
    """Return a name that no lease was ever asked by."""
    return f"wish_{secrets.token_hex(14)}"


@dataclass(slots=True)
class Path:
    """One key calling one model, as far as leases are concerned.

    `wish` names the lease that is asked for while there is none: asked again, it is the same one.
    """

    key: str = field(repr=False)
    model: str
    route: str
    allowed_at: deque[float] = field(default_factory=lambda: deque(maxlen=BUSY_CALLS))
    lease: Lease | None = None
    wish: str = field(default_factory=new_wish)
    asking: bool = False
    not_before: float = 0.0

    def is_busy(self, now: float) -> bool:
        """Whether enough calls were allowed lately."""
        return len(self.allowed_at) == BUSY_CALLS and now - self.allowed_at[0] <= BUSY_SECONDS


def path_name(exchange: Exchange, question: Question) -> PathName:
    """Return the path of a call. Calls of one key and model share a lease, whatever their route."""
    return exchange.fingerprint, question.model, ROUTES[exchange.path] is EMBEDDING


def is_plain(exchange: Exchange, question: Question, terms: Terms) -> bool:
    """Whether a call is of the kind that a lease is for; the portal decides all others."""
    return (
        question.context == "standard"
        and question.n <= MOST_CHOICES
        and exchange.project_id in (None, terms.project)
    )


def leased_call(
    exchange: Exchange, question: Question, lease: Lease, decided: Decided, asked: Mapping[str, object]
) -> Call:
    """Return a call that this worker allowed, with all that the portal needs to book it."""
    request_id = uuid.uuid4().hex
    told = {
        "request_id": request_id,
        "route": ROUTES[exchange.path].path,
        "context": question.context,
        "n": question.n,
        "input_tokens": decided.input_tokens,
        "max_output_tokens": decided.output_tokens,
        "held_usd": wire_usd(decided.held_usd),
        "authorized_at": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
    return Call(
        reservation=f"rsv_{secrets.token_hex(14)}",
        request_id=request_id,
        key_id=lease.terms.key_id,
        model=question.model,
        max_output_tokens=decided.output_tokens or None,
        asked=asked,
        leased={"lease": lease.id, "call": told},
    )
