"""What the scopes of budgets are called outside: by public id and name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField, QuerySet, Value

from budgets.models import ScopeKind
from budgets.types import BudgetRow
from teams.models import Department, Project, Team


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeName:
    """A scope by its public id; the organisation has none."""

    public_id: str | None
    name: str


Scopes = Mapping[tuple[ScopeKind, int], ScopeName]


def scope_names(rows: Iterable[BudgetRow]) -> dict[tuple[ScopeKind, int], ScopeName]:
    """Return the scopes of these budgets, without those of keys. One query."""
    wanted: dict[ScopeKind, set[int]] = {kind: set() for kind in ScopeKind}
    for row in rows:
        wanted[row.scope_kind].add(row.scope_id)
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
