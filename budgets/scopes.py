"""What the scopes of budgets are called outside: by public id and name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField, QuerySet, Value

from budgets.models import ScopeKind
from core.errors import InvalidInputError
from teams.models import Department, Project, Team, User


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeName:
    """A scope by its public id; the organisation has none."""

    public_id: str | None
    name: str


FindKey = Callable[[User, str], int | None]
Scopes = Mapping[tuple[ScopeKind, int], ScopeName]


def scope_names(scopes: Iterable[tuple[ScopeKind, int]]) -> dict[tuple[ScopeKind, int], ScopeName]:
    """Return what scopes are called, without those of keys. One query."""
    wanted: dict[ScopeKind, set[int]] = {kind: set() for kind in ScopeKind}
    for kind, scope_id in scopes:
        wanted[kind].add(scope_id)
    named: dict[ScopeKind, QuerySet[Any]] = {
        ScopeKind.DEPARTMENT: Department.objects.all(),
        ScopeKind.TEAM: Team.objects.all(),
        ScopeKind.PROJECT: Project.objects.all(),
    }
    first, *others = (
        found.filter(pk__in=wanted[kind])
        .order_by()
        .values_list(Value(kind.value, output_field=CharField()), "pk", "public_id", "name")
        for kind, found in named.items()
    )
    known = {
        (ScopeKind(kind), pk): ScopeName(public_id=public_id, name=name)
        for kind, pk, public_id, name in first.union(*others, all=True)
    }
    return {(ScopeKind.ORGANISATION, 0): ScopeName(public_id=None, name="Organisation"), **known}


def find_scope(
    user: User, kind: ScopeKind, public_id: str | None, *, find_key: FindKey, field: str = "scope"
) -> int:
    """Return the id of a scope that the user may see; 0 for the organisation.

    Raises InvalidInputError, the same for one that is out of sight.
    """
    if kind is ScopeKind.ORGANISATION:
        if public_id:
            raise InvalidInputError("The organisation has no id.", field=field)
        return 0
    named: dict[ScopeKind, QuerySet[Any]] = {
        ScopeKind.DEPARTMENT: Department.objects.visible_to(user),
        ScopeKind.TEAM: Team.objects.visible_to(user),
        ScopeKind.PROJECT: Project.objects.visible_to(user),
    }
    if kind is ScopeKind.KEY:
        found = find_key(user, public_id or "")
    else:
        found = named[kind].filter(public_id=public_id).values_list("pk", flat=True).first()
    if found is None:
        raise InvalidInputError(
            f"There is no such {kind.label.lower()}, or it is not one that you may see.", field=field
        )
    return int(found)
