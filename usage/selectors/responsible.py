"""Who is told of what becomes of a scope: those responsible for it, and nobody beside them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from budgets.models import ScopeKind
from budgets.types import ScopePlace
from keys.models import ApiKey, ServiceAccount
from teams.models import Role, User
from teams.selectors import RoleHolders, role_holders

PURSE_HOLDERS = (Role.FINANCE, Role.ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Somebody who is told."""

    person_id: int
    email: str


def responsible_for(places: Collection[ScopePlace]) -> dict[tuple[ScopeKind, int], Sequence[Recipient]]:
    """Return who is responsible for each scope. Three queries, four where one is a key.

    That is the owner of a key, of a service account's whoever answers for it; the leads of a project or team;
    the directors of a department; finance and administrators for the organisation. Where there is nobody, it
    is whoever is responsible for what is around it.
    """
    holders = role_holders()
    owners = _owners([place.id for place in places if place.kind is ScopeKind.KEY])
    chosen = {place.scope: _first(place, holders, owners) for place in places}
    wanted = {person for people in chosen.values() for person in people}
    emails = dict(User.objects.filter(pk__in=wanted, is_active=True).values_list("pk", "email"))
    return {
        scope: [Recipient(person_id=one, email=emails[one]) for one in sorted(people) if one in emails]
        for scope, people in chosen.items()
    }


def _first(place: ScopePlace, holders: RoleHolders, owners: Mapping[int, int]) -> Collection[int]:
    """Return the people of the narrowest circle around a place in which there is anybody."""
    return next((people for people in _circles(place, holders, owners) if people), frozenset())


def _circles(place: ScopePlace, holders: RoleHolders, owners: Mapping[int, int]) -> Iterable[Collection[int]]:
    roles = holders.for_place(place.team_id, place.department_id)
    if place.kind is ScopeKind.KEY:
        yield [owners[place.id]] if place.id in owners else []
    yield roles[Role.LEAD.value]
    yield roles[Role.DIRECTOR.value]
    yield frozenset().union(*(roles[role.value] for role in PURSE_HOLDERS))


def _owners(key_ids: Collection[int]) -> dict[int, int]:
    """Return whose each key is, by ids, of those who are still here; of a service account who answers."""
    if not key_ids:
        return {}
    answers = dict(ServiceAccount.objects.values_list("user_id", "responsible_id"))
    keys = ApiKey.objects.filter(pk__in=key_ids)
    found = {key: answers.get(owner, owner) for key, owner in keys.values_list("pk", "owner_id")}
    active = set(User.objects.filter(pk__in=found.values(), is_active=True).values_list("pk", flat=True))
    return {key: owner for key, owner in found.items() if owner in active}
