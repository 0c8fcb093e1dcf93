"""Reconciliation in the API: comparisons of the books, and what is done about their differences."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.views import NounViewSet, referred
from teams.models import User
from usage import services
from usage.api.days import SEPARATOR, parsed_day
from usage.models import Discrepancy, Level, ReconciliationRun
from usage.selectors.runs import discrepancies_for, runs_for
from usage.serializers import (
    DiscrepancyOut,
    DiscrepancyQuery,
    ReconciliationRunOut,
    ReconciliationRunQuery,
    run_id,
)
from usage.serializers_books import DiscrepancyAssignIn, DiscrepancyCloseIn
from usage.services.reconciliation.resolving import require_keeper


class ReconciliationRunViewSet(NounViewSet):
    """The ledger against each source, by day and level; for finance, auditors and administrators."""

    noun = "run"
    out = ReconciliationRunOut
    list_query = ReconciliationRunQuery
    reads_refuse = (403,)
    lookup_value_regex = r"[0-9]{4}-[0-9]{2}-[0-9]{2}\.[0-9A-Za-z_-]{1,40}(\.[23])?"

    def get_queryset(self) -> QuerySet[ReconciliationRun]:
        """Return all runs, to those who may see them."""
        return runs_for(self.actor)

    def chosen(self, rows: QuerySet[ReconciliationRun]) -> QuerySet[ReconciliationRun]:
        """Narrow the list down to a level and a state."""
        return self.narrowed(rows, level="level", state="state")

    def by_id(self, rows: QuerySet[Any], public_id: str) -> QuerySet[Any]:
        """Narrow runs down to one day, source and level."""
        return run_by_id(rows, public_id)

    def id_of(self, row: ReconciliationRun) -> str:
        """Return the day and source of a run."""
        return run_id(row)


class DiscrepancyViewSet(NounViewSet):
    """Calls, keys and models on which two sides differ; for finance, auditors and administrators."""

    noun = "discrepancy"
    out = DiscrepancyOut
    list_query = DiscrepancyQuery
    reads_refuse = (403,)
    lookup_value_regex = id_pattern("dsc")

    def get_queryset(self) -> QuerySet[Discrepancy]:
        """Return all discrepancies, to those who may see them."""
        return discrepancies_for(self.actor)

    def chosen(self, rows: QuerySet[Discrepancy]) -> QuerySet[Discrepancy]:
        """Narrow the list down to a run, a kind and a state."""
        found = self.narrowed(rows, kind="kind", state="state")
        if "run" not in self.query:
            return found
        runs: QuerySet[Any] = ReconciliationRun.objects.all()
        return found.filter(run__in=run_by_id(runs, self.query["run"]))

    @operation(takes=DiscrepancyAssignIn, gives=DiscrepancyOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def assign(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Say who looks after a difference, or nobody. Finance and administrators may."""
        wanted, found = self.body(DiscrepancyAssignIn), self.found(id)
        require_keeper(self.actor, "assign differences")
        owner = None
        if wanted["owner"] is not None:
            owner = referred(User.objects.all(), field="owner", noun="person", public_id=wanted["owner"])
        services.assign(actor=self.actor, discrepancy=found, owner=owner)
        return self.answer(self.found(id))

    @operation(takes=DiscrepancyCloseIn, gives=DiscrepancyOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def explain(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Close a difference whose cause is known and needs nothing else. Finance and administrators may."""
        return self._done(services.explain, id)

    @operation(takes=DiscrepancyCloseIn, gives=DiscrepancyOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Close a difference that the organisation bears. Finance and administrators may."""
        return self._done(services.accept, id)

    @operation(takes=DiscrepancyCloseIn, gives=DiscrepancyOut, refuses=(404,))
    @action(detail=True, methods=["post"])
    def correct(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Let the ledger follow the other side by entries of their own. Finance and administrators may."""
        return self._done(services.correct, id)

    @operation(takes=DiscrepancyCloseIn, gives=DiscrepancyOut, refuses=(404,))
    @action(detail=True, methods=["post"], url_path="confirm-price")
    def confirm_price(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Enter the prices of the proposal, from the day on which they began. Only administrators may.

        One that moves by more than 20 % waits for a second administrator among `price-proposals`.
        """
        return self._done(services.confirm_price, id)

    def _done(self, act: Callable[..., Discrepancy], public_id: str) -> Response:
        reason = self.body(DiscrepancyCloseIn)["reason"]
        act(actor=self.actor, discrepancy=self.found(public_id), reason=reason)
        return self.answer(self.found(public_id))


def run_by_id(rows: QuerySet[Any], public_id: str) -> QuerySet[Any]:
    """Narrow runs down to one day, source and level."""
    day, _, place = public_id.partition(SEPARATOR)
    source, _, level = place.partition(SEPARATOR)
    asked = int(level) if level.isascii() and level.isdecimal() and len(level) == 1 else 0
    return rows.filter(day=parsed_day(day), source=source, level=asked if level else Level.CALLS)
