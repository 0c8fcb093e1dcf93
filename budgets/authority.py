"""Who may set which limit: within the budgets above, above those below, a lead within the head-room.

Read inside the transaction that holds the locks of `services.limits`, or by a page that wants to say it
beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from budgets import selectors
from budgets.models import Budget, Mode, ScopeKind, Window
from budgets.types import BudgetRow, ScopePlace
from core.money import ZERO, format_usd
from teams.models import Role, User
from teams.selectors import RoleHolders, RolesHeld, names_of, role_holders, roles_of

PURSE_HOLDERS = frozenset({Role.ADMIN, Role.FINANCE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What a limit is for: a scope, a window, and a filter if any."""

    place: ScopePlace
    window: Window
    only_tier: int | None = None
    only_model_id: int | None = None

    def covers(self, row: BudgetRow) -> bool:
        """Whether every call that counts on `row` counts on this slot too, as far as filters go."""
        return self.only_tier in {None, row.only_tier} and self.only_model_id in {None, row.only_model_id}

    def is_covered_by(self, row: BudgetRow) -> bool:
        """Whether every call of this slot counts on `row`, as far as filters go."""
        return row.only_tier in {None, self.only_tier} and row.only_model_id in {None, self.only_model_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A bound on a new limit in US dollars, a sentence that says where it comes from, and whose key it is."""

    usd: Decimal
    why: str
    key_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What one person may do with one limit. `who_may` names those who may more."""

    may_change: bool
    highest: Bound | None
    lowest: Bound | None
    may_be_unlimited: bool
    who_may: str


def authority(actor: User | None, slot: Slot, *, current: BudgetRow | None = None) -> Authority:
    """Return how `actor` may set this limit; None is the system, which only the neighbouring budgets bind.

    The lead sets the limits of his team's projects and keys within what the team's own limit leaves, may open
    and lower the team's own, and never raises it. The director sets those of his department. Finance and
    administrators set all.
    """
    place = slot.place
    roles = roles_of(actor) if actor else None
    full = roles is None or _holds_the_purse(roles, place)
    leads = roles is not None and _leads(roles, place)
    own_bounds = _lead_bounds(slot, current) if leads and not full else []
    return Authority(
        may_change=full or leads,
        highest=min([*_bounds_above(slot), *own_bounds], key=lambda bound: bound.usd, default=None),
        lowest=max(_bounds_below(slot), key=lambda bound: bound.usd, default=None),
        may_be_unlimited=not own_bounds,
        who_may=_who_may(place),
    )


def may_change(roles: RolesHeld, place: ScopePlace) -> bool:
    """Whether somebody with these roles may set limits here, within whatever bounds."""
    return _holds_the_purse(roles, place) or _leads(roles, place)


def who_may_change(place: ScopePlace) -> str:
    """Say who sets limits here: `Ben Okafor within the team's head-room, beyond it Cleo Hart`. One query."""
    holders = role_holders()
    others = _purse_holders(holders, place)
    leads = holders.leads.get(place.team_id, frozenset()) if place.team_id is not None else frozenset()
    names = sorted(holders.names[lead] for lead in leads)
    if names and place.kind is ScopeKind.PROJECT:
        return f"{names_of(names)} within the team's head-room, beyond it {names_of(others)}"
    if names and place.kind is ScopeKind.TEAM:
        return f"{names_of(names)} downwards only, {names_of(others)} upwards too"
    return names_of([*names, *others])


def _leads(roles: RolesHeld, place: ScopePlace) -> bool:
    return place.team_id is not None and place.team_id in roles.leads


def _holds_the_purse(roles: RolesHeld, place: ScopePlace) -> bool:
    directs = place.department_id is not None and place.department_id in roles.directs
    return bool(roles.organisation_wide & PURSE_HOLDERS) or directs


def _bounds_above(slot: Slot) -> list[Bound]:
    """No limit is above that of a wider scope for the same window."""
    place = slot.place
    rows = selectors.budget_rows(selectors.open_budgets_above(place).filter(window=slot.window))
    return [
        Bound(
            usd=row.limit_usd,
            why=f"the {row.window_label.lower()} limit of {row.name} is {format_usd(row.limit_usd)}",
        )
        for row in rows
        if row.limit_usd is not None
        and row.mode is not Mode.NOTIFY
        and (row.scope_kind, row.scope_id) != (place.kind, place.id)
        and slot.is_covered_by(row)
    ]


def _bounds_below(slot: Slot) -> list[Bound]:
    rows = selectors.budget_rows(selectors.open_budgets_below(slot.place).filter(window=slot.window))
    return [
        Bound(
            usd=row.limit_usd,
            why=f"the {row.window_label.lower()} limit of {_called(row)} is {format_usd(row.limit_usd)}",
            key_ids=(row.scope_id,) if row.scope_kind is ScopeKind.KEY else (),
        )
        for row in rows
        if row.limit_usd is not None and row.mode is not Mode.NOTIFY and slot.covers(row)
    ]


def _called(row: BudgetRow) -> str:
    return "a key" if row.scope_kind is ScopeKind.KEY else row.name


def _lead_bounds(slot: Slot, current: BudgetRow | None) -> list[Bound]:
    place = slot.place
    if place.kind is ScopeKind.TEAM:
        return [_own_limit(current)] if current and current.limit_usd is not None else []
    if place.kind is not ScopeKind.PROJECT or place.team_id is None:
        return []
    rows = selectors.team_allocation(place.team_id, slot.window)
    teams = [row for row in rows if row.scope_kind is ScopeKind.TEAM and row.limit_usd is not None]
    others = [row for row in rows if row.scope_kind is ScopeKind.PROJECT and row.scope_id != place.id]
    return [_unallocated(team, others) for team in teams]


def _own_limit(current: BudgetRow) -> Bound:
    assert current.limit_usd is not None
    return Bound(
        usd=current.limit_usd,
        why=f"a lead does not raise the limit of his own team, {format_usd(current.limit_usd)}",
    )


def _unallocated(team: BudgetRow, projects: Sequence[BudgetRow]) -> Bound:
    """The team's limit less the largest limit of each other project."""
    largest: dict[int, Decimal] = {}
    for row in projects:
        if row.limit_usd is not None and row.only == "":
            largest[row.scope_id] = max(largest.get(row.scope_id, ZERO), row.limit_usd)
    allocated_usd = sum(largest.values(), ZERO)
    assert team.limit_usd is not None
    why = (
        f"{team.name} has {format_usd(team.limit_usd)} a {team.window_label.lower()}, of which"
        f" {format_usd(allocated_usd)} is allocated to its other projects"
    )
    return Bound(usd=max(team.limit_usd - allocated_usd, ZERO), why=why)


def _who_may(place: ScopePlace) -> str:
    """Name those who may set the limit without a lead's bounds."""
    return names_of(_purse_holders(role_holders(), place))


def _purse_holders(holders: RoleHolders, place: ScopePlace) -> list[str]:
    ids = {person for role in PURSE_HOLDERS for person in holders.organisation_wide.get(role.value, ())}
    if place.department_id is not None:
        ids |= holders.directors.get(place.department_id, frozenset())
    return sorted(holders.names[person] for person in ids)


def slot_of(budget: Budget) -> Slot:
    """Return what this budget's limit is for."""
    return Slot(
        place=selectors.scope_place(ScopeKind(budget.scope_kind), budget.scope_id),
        window=Window(budget.window),
        only_tier=budget.only_tier_id,
        only_model_id=budget.only_model_id,
    )
