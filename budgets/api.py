"""Budgets in the API: what their windows spent and hold, their limits so far, a change of limit."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from budgets import selectors
from budgets.errors import NeedsConfirmationError
from budgets.models import Budget, ScopeKind
from budgets.ports import KeyDirectory
from budgets.scopes import scope_names
from budgets.serializers import BudgetOut, BudgetQuery, LimitChangeIn, LimitsOut
from budgets.services import limits
from budgets.types import BudgetRow
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import NounViewSet
from teams.models import Project, Team


class BudgetViewSet(NounViewSet):
    """The open budgets of what the person may see, each in its current window."""

    noun = "budget"
    out = BudgetOut
    list_query = BudgetQuery
    lookup_value_regex = id_pattern("bdg")
    keys: ClassVar[KeyDirectory]

    def get_queryset(self) -> QuerySet[Budget]:
        """Return the budgets in scope."""
        return selectors.visible_budgets(self.actor, key_ids=self.keys.visible_ids(self.actor))

    def chosen(self, rows: QuerySet[Budget]) -> QuerySet[Budget]:
        """Narrow the list down to a kind of scope, a window, a project and a team."""
        found = self.narrowed(rows, scope="scope_kind", window="window")
        scopes: dict[ScopeKind, QuerySet[Any]] = {
            ScopeKind.PROJECT: Project.objects.all(),
            ScopeKind.TEAM: Team.objects.all(),
        }
        for kind, named in scopes.items():
            if kind.value in self.query:
                place = named.filter(public_id=self.query[kind.value])
                found = found.filter(scope_kind=kind, scope_id__in=place.values("pk"))
        return found

    def presented(self, rows: Sequence[Budget]) -> Sequence[BudgetRow]:
        """Return the rows of the Budgets page."""
        found = selectors.budget_rows(Budget.objects.filter(pk__in=[budget.pk for budget in rows]))
        by_id = {row.id: row for row in found}
        return [by_id[budget.pk] for budget in rows]

    def about(self, rows: Sequence[BudgetRow]) -> dict[str, Any]:
        """Return what the scopes are called."""
        keys = {row.scope_id for row in rows if row.scope_kind is ScopeKind.KEY}
        named = self.keys.names(self.actor, keys)
        return {"scopes": scope_names(rows) | {(ScopeKind.KEY, key): name for key, name in named.items()}}

    @operation(gives=LimitsOut, reads=True, refuses=(404,))
    @action(detail=True, methods=["get"])
    def limits(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """List every limit that a budget has had, the newest first."""
        history = selectors.limit_history(self.found(id).pk)
        return Response(LimitsOut({"results": history}).data)

    @operation(takes=LimitChangeIn, gives=BudgetOut, refuses=(404, 409, 422))
    @limits.mapping.post
    def change_limit(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Give a budget another limit, in force on the next call. The same limit again changes nothing."""
        wanted = self.body(LimitChangeIn)
        budget = self.found(id)
        try:
            limits.change_limit(actor=self.actor, budget=budget, **wanted)
        except NeedsConfirmationError as error:
            keys = self.keys.names(self.actor, error.key_ids).values()
            error.extra["keys"] = [{"id": key.public_id, "name": key.name} for key in keys]
            raise
        return self.answer(budget)
