"""Who may set which limit: within the budgets above, above those below, a lead within the head-room.

Services read it inside the transaction that holds the lock of `services.common`, pages to say it beforehand.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import CharField, Q, QuerySet, Value

from budgets.allocation import Bound, Node, bounds_above, bounds_below, bounds_of_lead, outgrown
from budgets.errors import HeadroomError
from budgets.models import Allocation, Mode, ScopeKind
from budgets.types import Mandate, ScopePlace, scope_title
from core.money import ZERO, format_usd
from teams.models import Department, Project, Role, Team, User
from teams.selectors import RoleHolders, RolesHeld, names_of, role_holders, roles_of

PURSE_HOLDERS = frozenset({Role.ADMIN, Role.FINANCE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Powers:
    """What one person may do with the limits of a scope; `who_may` names those who may do anything.

    `as_lead` is somebody who may only within what his team has: to loosen is not his.
    """

    may_change: bool
    as_lead: bool
    who_may: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Between what a base limit may be set now; a bound of None is no bound."""

    highest: Bound | None
    lowest: Bound | None
    may_be_unlimited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A budget before and after what somebody asks for, among its neighbours; None before is "not there yet".

    `asked` is how a sentence names what is asked for, `asked_usd` the amount that was entered, if any.
    """

    before: Node | None
    after: Node
    around: Sequence[Node]
    asked: str
    asked_usd: Decimal | None = None
    field: str = "amount_usd"


def powers(
    actor: User | None,
    place: ScopePlace,
    *,
    roles: RolesHeld | None = None,
    mandate: Mandate | None = None,
) -> Powers:
    """Return what `actor` may do here; None is the system, which only the neighbouring budgets bind.

    With a mandate he may what its giver may in the role that he lent, whatever else either of them is: the
    caller has found that it holds here and now.

    The lead sets the limits of his team's projects and keys within what the team's own limit leaves, may open
    and lower the team's own, and never raises it. The director sets those of his department. Finance and
    administrators set all. One query, two when `roles` are not known.
    """
    held = roles or (roles_of(actor) if actor else None)
    if mandate is not None:
        held = roles_of(mandate.giver).only(mandate.role)
    full = held is None or _holds_the_purse(held, place)
    leads = held is not None and _leads(held, place)
    return Powers(may_change=full or leads, as_lead=leads and not full, who_may=_who_may(place))


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


def room(node: Node, around: Sequence[Node], *, as_lead: bool, now: datetime) -> Room:
    """Return between what the base limit of a budget may be set, now and until its next planned one."""
    if node.mode is Mode.NOTIFY:
        return Room(highest=None, lowest=None, may_be_unlimited=True)
    plans = node.schedule.plans_after(now)
    moments = [at for at in _moments(now, node, around) if not plans or at < plans[0].valid_from]
    above = [
        replace(bound, usd=max(bound.usd - node.schedule.top_ups_at(at), ZERO))
        for at in moments
        for bound in (*bounds_above(node, around, at), *_lead_bounds(node, around, at, as_lead=as_lead))
    ]
    below = [bound for at in moments for bound in bounds_below(node, around, at)]
    return Room(
        highest=min(above, key=lambda bound: bound.usd, default=None),
        lowest=max(below, key=lambda bound: bound.usd, default=None),
        may_be_unlimited=not (as_lead and binds_lead(node, around, now)),
    )


def binds_lead(node: Node, around: Sequence[Node], now: datetime) -> bool:
    """Whether a lead may not take this limit away nor weaken it: his team has one that it shares."""
    has_limit = node.limit_at(now) is not None
    return has_limit and any(True for _ in _lead_bounds(node, around, now, as_lead=True))


def require_room(change: Change, may: Powers, *, now: datetime) -> None:
    """Raise HeadroomError if a change would break an allocation at any moment from now on."""
    rises: list[tuple[Decimal, Bound]] = []
    falls: list[tuple[Decimal, Bound]] = []
    for at in _moments(now, change.after, change.around, change.before):
        was = change.before.limit_at(at) if change.before else None
        wanted = change.after.limit_at(at)
        if wanted is None:
            _require_removable(change, may, at)
            continue
        if was is None or wanted > was:
            bounds = (
                *bounds_above(change.after, change.around, at),
                *_lead_bounds(change.before or change.after, change.around, at, as_lead=may.as_lead),
            )
            rises += [(wanted - bound.usd, _dated(bound, at, now)) for bound in bounds]
        if was is None or wanted < was or _is_stricter(change):
            found = bounds_below(change.after, change.around, at)
            falls += [(bound.usd - wanted, _dated(bound, at, now)) for bound in found]
    _require_within(change, may, rises)
    _require_over(change, falls)


def _too_high(asked: str, bound: Bound, highest_usd: Decimal, who_may: str, *, field: str) -> HeadroomError:
    """Return the refusal of what is more than there is room for."""
    return HeadroomError(
        f"{asked} is more than there is room for: {bound.why}. You may go up to {format_usd(highest_usd)};"
        f" for more ask {who_may}.",
        field=field,
        highest_usd=f"{highest_usd:f}",
    )


def may_change_anything(roles: RolesHeld) -> bool:
    """Whether somebody with these roles sets limits anywhere."""
    return bool(roles.organisation_wide & PURSE_HOLDERS or roles.directs or roles.leads)


def scopes_limited_by(roles: RolesHeld) -> list[tuple[ScopeKind, str, str]]:
    """Return the scopes whose limits somebody with these roles sets, but keys: kind, public id and name.

    The organisation has no public id. One query.
    """
    everything = bool(roles.organisation_wide & PURSE_HOLDERS)
    teams = Team.objects.filter(Q(pk__in=roles.leads) | Q(department__in=roles.directs))
    found: dict[ScopeKind, QuerySet[Any]] = {
        ScopeKind.DEPARTMENT: Department.objects.filter(pk__in=roles.directs),
        ScopeKind.TEAM: teams,
        ScopeKind.PROJECT: Project.objects.filter(team__in=teams),
    }
    if everything:
        found = {kind: rows.model.objects.all() for kind, rows in found.items()}
    first, *others = (
        rows.order_by().values_list(Value(kind.value, output_field=CharField()), "public_id", "name")
        for kind, rows in found.items()
    )
    rows = [(ScopeKind(kind), known, name) for kind, known, name in first.union(*others, all=True)]
    order = list(ScopeKind)
    rows.sort(key=lambda each: (order.index(each[0]), each[2]))
    named = [(kind, known, scope_title(kind, name)) for kind, known, name in rows]
    return [(ScopeKind.ORGANISATION, "", "Organisation"), *named] if everything else named


def _require_within(change: Change, may: Powers, rises: Sequence[tuple[Decimal, Bound]]) -> None:
    excess, bound = max(rises, key=lambda pair: pair[0], default=(ZERO, None))
    if bound is None or excess <= 0:
        return
    highest_usd = bound.usd if change.asked_usd is None else max(change.asked_usd - excess, ZERO)
    raise _too_high(change.asked, bound, highest_usd, may.who_may, field=change.field)


def _require_over(change: Change, falls: Sequence[tuple[Decimal, Bound]]) -> None:
    lack, bound = max(falls, key=lambda pair: pair[0], default=(ZERO, None))
    if bound is None or lack <= 0:
        return
    lowest_usd = bound.usd if change.asked_usd is None else change.asked_usd + lack
    raise HeadroomError(
        f"{change.asked} is too low: {bound.why}. {bound.advice}",
        field=change.field,
        key_ids=bound.key_ids,
        lowest_usd=f"{lowest_usd:f}",
    )


def _require_removable(change: Change, may: Powers, at: datetime) -> None:
    """Refuse to take a limit away where a lead needs one, or where what is below then counts above."""
    before = change.before
    if before is None or before.limit_at(at) is None:
        return
    exceeded = outgrown(before, change.around, at)
    if exceeded is not None:
        raise HeadroomError(
            f"{change.asked} leaves the budgets below without it: {exceeded.why}.",
            field=change.field,
            highest_usd=f"{exceeded.usd:f}",
        )
    bounds = _lead_bounds(before, change.around, at, as_lead=may.as_lead)
    bound = min(bounds, key=lambda each: each.usd, default=None)
    if bound is not None:
        raise _too_high(change.asked, bound, bound.usd, may.who_may, field=change.field)


def _is_stricter(change: Change) -> bool:
    """Whether less may be handed out of the same limit than before."""
    if change.before is None:
        return True
    was, wanted = change.before, change.after
    if wanted.allocation is Allocation.POOL:
        return False
    return was.allocation is Allocation.POOL or wanted.overcommit_ratio < was.overcommit_ratio


def _lead_bounds(node: Node, around: Sequence[Node], at: datetime, *, as_lead: bool) -> Iterator[Bound]:
    """Give what binds somebody who is only the lead; `node` has the limit that is there already."""
    if not as_lead:
        return
    yield from bounds_of_lead(node, around, at)
    own_usd = node.limit_at(at) if node.place.kind is ScopeKind.TEAM and node.id else None
    if own_usd is not None:
        yield Bound(
            usd=own_usd, why=f"a lead does not raise the limit of their own team, {format_usd(own_usd)}"
        )


def _moments(now: datetime, node: Node, around: Sequence[Node], before: Node | None = None) -> list[datetime]:
    """Return now and every later moment at which one of the limits may change."""
    schedules = [each.schedule for each in (*around, node)] + ([before.schedule] if before else [])
    return sorted({now}.union(*(schedule.changes_after(now) for schedule in schedules)))


def _dated(bound: Bound, at: datetime, now: datetime) -> Bound:
    return bound if at == now else replace(bound, why=f"from {at:%-d %B %Y, %H:%M} UTC on, {bound.why}")


def _leads(roles: RolesHeld, place: ScopePlace) -> bool:
    return place.team_id is not None and place.team_id in roles.leads


def _holds_the_purse(roles: RolesHeld, place: ScopePlace) -> bool:
    directs = place.department_id is not None and place.department_id in roles.directs
    return bool(roles.organisation_wide & PURSE_HOLDERS) or directs


def _who_may(place: ScopePlace) -> str:
    """Name those who may set the limit without a lead's bounds."""
    return names_of(_purse_holders(role_holders(), place))


def _purse_holders(holders: RoleHolders, place: ScopePlace) -> list[str]:
    ids = {person for role in PURSE_HOLDERS for person in holders.organisation_wide.get(role.value, ())}
    if place.department_id is not None:
        ids |= holders.directors.get(place.department_id, frozenset())
    return sorted(holders.names[person] for person in ids)
