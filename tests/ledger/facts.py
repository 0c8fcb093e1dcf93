"""What the model of the ledger knows: the organisation, its limits, its books. Plain values, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from catalog.pricing import PriceRow

ZERO = Decimal(0)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

# A balance: which budget, and when its window started.
Slot = tuple[int, datetime]
Cause = tuple[int | None, str, str]  # the budget that refused, or the rate: its scope and which of its three


@dataclass(slots=True, kw_only=True)
class Tier:
    """What a call of this class is given when it asks for nothing, and the least that is worth a call."""

    default_output: int
    floor_output: int


@dataclass(slots=True, kw_only=True)
class Model:
    """Something that can be called, with its dated prices."""

    id: int
    name: str
    mode: str
    tier: int
    window_tokens: int
    max_output: int
    is_free: bool = False
    is_retired: bool = False
    hold_units: dict[str, Decimal] = field(default_factory=dict)
    prices: list[PriceRow] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Project:
    """Where a key belongs; it may move to another team."""

    id: int
    code: str
    team_id: int
    is_archived: bool = False


@dataclass(slots=True, kw_only=True)
class Key:
    """A caller."""

    id: int
    public_id: str
    project_id: int
    owner_id: int
    expires_at: datetime
    is_revoked: bool = False
    is_suspended: bool = False


@dataclass(slots=True, kw_only=True)
class Grant:
    """Leave for one key to call one tier for a time."""

    key_id: int
    tier: int
    model_ids: Sequence[int]
    starts_at: datetime
    expires_at: datetime
    is_revoked: bool = False


@dataclass(slots=True, kw_only=True)
class Limit:
    """An amount in force from a moment on; with an end it is a top-up."""

    amount: Decimal | None
    valid_from: datetime
    valid_until: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Budget:
    """One limit on one scope for one window."""

    id: int
    public_id: str
    scope: tuple[str, int]
    window: str
    anchor: int
    zone: str
    mode: str
    only_tier: int | None
    only_model: int | None
    roll_over: str
    created_at: datetime
    is_closed: bool = False
    limits: list[Limit] = field(default_factory=list)

    def limit_at(self, at: datetime) -> Decimal | None:
        """Return the newest base limit and the top-ups in force; None is no limit."""
        base = [limit for limit in self.limits if limit.valid_until is None and limit.valid_from <= at]
        if not base:
            return None
        newest = max(enumerate(base), key=lambda each: (each[1].valid_from, each[0]))[1]
        if newest.amount is None:
            return None
        top_ups = [
            each for each in self.limits if each.valid_until and each.valid_from <= at < each.valid_until
        ]
        return sum((each.amount or ZERO for each in top_ups), newest.amount)

    def opens_at(self, usd: Decimal, *, after: datetime, ends_at: datetime) -> datetime:
        """Return when there is room for an amount: by a limit that is planned, else when the window ends."""
        planned = sorted(limit.valid_from for limit in self.limits if after < limit.valid_from < ends_at)
        limits = ((at, self.limit_at(at)) for at in planned)
        return next((at for at, limit in limits if limit is None or limit >= usd), ends_at)


@dataclass(slots=True, kw_only=True)
class Balance:
    """What one window of a budget has spent and holds."""

    ends_at: datetime
    spent: Decimal = ZERO
    reserved: Decimal = ZERO
    mean_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Rate:
    """How fast a scope may call. The arrival times are exact seconds since 1970."""

    id: int
    scope: tuple[str, int]
    requests: int | None = None
    tokens: int | None = None
    parallel: int | None = None
    requests_tat: Fraction | None = None
    tokens_tat: Fraction | None = None
    in_flight: int = 0


@dataclass(slots=True, kw_only=True)
class Attribution:
    """Who a call belonged to when it was authorised."""

    key_id: int
    owner_id: int
    project_id: int
    team_id: int
    department_id: int


@dataclass(slots=True, kw_only=True)
class Lease:
    """Money that a node holds to decide calls of one key and model by itself."""

    node: str
    wish: str | None
    who: Attribution
    model: Model
    slots: list[Slot]
    granted: Decimal = ZERO
    held: Decimal = ZERO
    returned: Decimal = ZERO
    opened_at: datetime = NEVER
    expires_at: datetime = NEVER
    reclaim_at: datetime = NEVER
    public_id: str = ""
    is_recalled: bool = False
    is_closed: bool = False


@dataclass(slots=True, kw_only=True)
class Hold:
    """One allowed call."""

    request_id: str
    body: bytes
    who: Attribution
    model: Model
    context: str
    input_bound: int
    output: int
    choices: int
    units: dict[str, Decimal]
    held: Decimal
    floor: Decimal
    slots: list[Slot]
    rates: list[Rate]
    warnings: list[dict[str, str]]
    authorized_at: datetime
    expires_at: datetime
    public_id: str = ""
    state: str = "open"
    lease: Lease | None = None

    @property
    def held_tokens(self) -> int:
        """Return what the call counts on a rate of tokens until it settles; there is none under a lease."""
        return 0 if self.lease else self.input_bound + self.output * self.choices


@dataclass(slots=True, kw_only=True)
class Posting:
    """One entry of the ledger, and the event of the call that it books; a carry has no call."""

    kind: str
    amount: Decimal
    slots: list[Slot]
    hold: Hold | None = None
    external_id: str = ""
    model: Model | None = None
    price_ids: tuple[int, ...] = ()
    calls: int = 0
    tokens: tuple[int, ...] = (0, 0, 0, 0, 0)  # input, cached, cache write, output, reasoning
    units: dict[str, Decimal] = field(default_factory=dict)
    finish: str = "error"
    cache_hit: bool = False
    estimated: bool = True
    overrun: Decimal = ZERO
    corrects: Posting | None = None
    served_context: str | None = None  # where it is not the one that was asked for


@dataclass(slots=True, kw_only=True)
class Decision:
    """The answer to one question, and why."""

    code: str
    hold: Hold | None = None
    budget: Budget | None = None
    limit: str = ""
    scope: str = ""
    retry_after: Fraction = Fraction(0)
    is_never: bool = False

    @property
    def cause(self) -> Cause:
        """Return what refused."""
        return (self.budget.id if self.budget else None, self.scope, self.limit)


@dataclass(slots=True, kw_only=True)
class Lent:
    """The answer to a wish for a lease."""

    code: str
    lease: Lease | None = None
    added: Decimal = ZERO
    budget: Budget | None = None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one settlement or release."""

    status: str
    charged: Decimal | None = None
    held: Decimal | None = None


Body = dict[str, Any]
