"""What is read of budgets: small frozen values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import TypeVar

from budgets.models import Allocation, Mode, RollOver, ScopeKind, Window
from teams.models import Role, User


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopePlace:
    """Where a scope stands now, as far as it has a project, a team, a department."""

    kind: ScopeKind
    id: int
    project_id: int | None
    team_id: int | None
    department_id: int | None

    @property
    def scope(self) -> tuple[ScopeKind, int]:
        """Return what it is."""
        return self.kind, self.id

    @property
    def chain(self) -> tuple[tuple[ScopeKind, int], ...]:
        """Return the scopes that it is part of and itself, the widest first."""
        parts = {
            ScopeKind.ORGANISATION: 0,
            ScopeKind.DEPARTMENT: self.department_id,
            ScopeKind.TEAM: self.team_id,
            ScopeKind.PROJECT: self.project_id,
            self.kind: self.id,
        }
        return tuple((kind, scope_id) for kind, scope_id in parts.items() if scope_id is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """For whom somebody acts, and the one role of that person which was lent: no other counts."""

    giver: User
    role: Role


def scope_title(kind: ScopeKind, name: str) -> str:
    """Return how people call a scope: `Search team`. Keys have names elsewhere."""
    if kind in {ScopeKind.DEPARTMENT, ScopeKind.TEAM}:
        return f"{name} {kind.label.lower()}"
    return name or kind.label


class LimitState(Enum):
    """Where a limit stands in time; one that was replaced at its very moment never came into force."""

    PLANNED = "planned"
    IN_FORCE = "in_force"
    PAST = "past"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStanding:
    """How a budget stands in the window of a moment; amounts in US dollars, a limit of None is no limit."""

    id: int
    public_id: str
    scope_kind: ScopeKind
    scope_id: int
    window: Window
    mode: Mode
    only_tier: int | None
    only_model_id: int | None
    limit_usd: Decimal | None
    spent_usd: Decimal
    held_usd: Decimal
    window_starts_at: datetime
    window_ends_at: datetime

    @property
    def scope(self) -> tuple[ScopeKind, int]:
        """Return what it is a budget of."""
        return self.scope_kind, self.scope_id

    @property
    def is_filtered(self) -> bool:
        """Whether it counts the calls of one tier or model alone."""
        return self.only_tier is not None or self.only_model_id is not None

    def binds(self, other: "BudgetStanding") -> bool:
        """Whether the calls of `other`, in this scope or one inside it, count here, as far as filters go."""
        return self.only_tier in {None, other.only_tier} and self.only_model_id in {None, other.only_model_id}

    @property
    def resets_at(self) -> datetime | None:
        """Return when the budget starts anew; None for a lifetime."""
        return None if self.window is Window.LIFETIME else self.window_ends_at

    @property
    def left_usd(self) -> Decimal | None:
        """Return what may still be authorised; negative after an overrun or a lowered limit."""
        return None if self.limit_usd is None else self.limit_usd - self.spent_usd - self.held_usd

    @property
    def spent_percent(self) -> Decimal | None:
        """Return the spent share of the limit, unrounded."""
        return self._percent(self.spent_usd)

    @property
    def held_percent(self) -> Decimal | None:
        """Return the held share of the limit, unrounded."""
        return self._percent(self.held_usd)

    def _percent(self, amount_usd: Decimal) -> Decimal | None:
        if self.limit_usd is None:
            return None
        return 100 * amount_usd / self.limit_usd if self.limit_usd else Decimal(100 if amount_usd else 0)


AnyBudgetStanding = TypeVar("AnyBudgetStanding", bound=BudgetStanding)
BudgetStandings = Mapping[tuple[ScopeKind, int], Sequence[BudgetStanding]]  # by what they are budgets of


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedShare:
    """A share of a limit that a budget passed in its present window; `limit_since` says which limit."""

    percent: int
    is_forecast: bool
    is_told: bool
    limit_usd: Decimal
    limit_since: datetime
    passed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow(BudgetStanding):
    """A budget as it stands, with all that a page tells of it.

    `scope_name` is empty for a key: keys belong to an app that imports this one, which names them. `is_seen`
    is False where the reader may not see the scope, and only its effect on others is his business.
    """

    scope_name: str
    place: ScopePlace
    window_label: str
    window_anchor: int
    time_zone: str
    allocation: Allocation
    overcommit_ratio: Decimal
    roll_over: RollOver
    alert_percents: tuple[int, ...]
    passed: tuple[PassedShare, ...]  # the latest first
    only: str
    in_force_since: datetime | None
    set_by: str
    reason: str
    is_seen: bool = True

    @property
    def name(self) -> str:
        """Return how people call the budget's scope."""
        return scope_title(self.scope_kind, self.scope_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One limit of a budget's history. `until` is the end of a top-up, or when the next base limit comes."""

    amount_usd: Decimal | None
    kind: str
    state: LimitState
    in_force_since: datetime
    until: datetime | None
    actor: str
    reason: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a scope may call, in calls and tokens a minute and calls in flight; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_calls: int | None = None

    @property
    def lets_everything_through(self) -> bool:
        """Whether nothing is limited."""
        return self == Rate()


@dataclass(frozen=True, slots=True, kw_only=True)
class PastWindow:
    """What an earlier window of a budget came to."""

    starts_at: datetime
    ends_at: datetime
    spent_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetDetail:
    """One budget with its history, the newest first, and the other budgets that bind the same calls."""

    budget: BudgetRow
    history: tuple[LimitRow, ...]
    past_windows: tuple[PastWindow, ...]
    path: tuple[BudgetRow, ...]
    tightest: BudgetRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What the budgets on a project's path leave it; `tightest` is the hard one with the least left."""

    rows: tuple[BudgetRow, ...]
    tightest: BudgetRow | None
