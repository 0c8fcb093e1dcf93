"""Requests for access and for more budget in one list, sorted and a part at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from django.db.models import CharField, Exists, F, QuerySet, Value
from django.db.models.functions import Coalesce

from approvals.loading import listed, with_lent
from approvals.models import AccessRequest, AccessRequestQuerySet, BudgetRequest, BudgetRequestQuerySet
from core.sorting import Order, SqlColumn
from teams.models import User

AnyRequest = AccessRequest | BudgetRequest
SHOWN = 50
FIRST_PART = slice(0, SHOWN + 1)  # and one more, which says whether there is another part
ROWS_A_FETCH = 500
ACCESS, BUDGET = "access", "budget"
SOONEST_FIRST = Order(name="due", falls=False)
NEWEST_FIRST = Order(name="over", falls=True)


def usd_of(request: AnyRequest) -> Any:
    """Return the US dollars that a list names: the expected ones of a month, or what a limit shall be."""
    return request.expected_monthly_usd if isinstance(request, AccessRequest) else request.limit_usd


OPEN_BY: Mapping[str, Callable[[AnyRequest], Any]] = {
    "due": lambda request: request.decide_by,
    "usd": usd_of,
    "who": lambda request: str(request.requester).casefold(),
    "asked": lambda request: request.created_at,
}
OVER_BY: Mapping[str, SqlColumn] = {"over": "over", "usd": "usd", "who": "who", "asked": "asked"}


def told_of(more: BudgetRequestQuerySet, requests: AccessRequestQuerySet) -> AccessRequestQuerySet:
    """Let requests for access tell, in `has_more`, whether there are those others for more budget."""
    return requests.annotate(has_more=Exists(more))


def decided(user: User, *, order: Order, part: slice, more: BudgetRequestQuerySet) -> tuple[AnyRequest, ...]:
    """Return a part of the requests that are over and that a person may see; those for access tell of `more`.
    One query and one for each kind of request.
    """
    return tuple(_load(list(_places(user, order)[part]), more))


def every_decided(user: User, *, order: Order) -> Iterator[AnyRequest]:
    """Give all that `decided` has parts of, as they were when this began."""
    places = list(_places(user, order))
    for first in range(0, len(places), ROWS_A_FETCH):
        yield from _load(places[first : first + ROWS_A_FETCH], BudgetRequest.objects.none())


def _places(user: User, order: Order) -> QuerySet[Any, Any]:
    """Return which requests are over, of both kinds, in order: their kind and number."""
    shared = {
        "over": Coalesce("decided_at", "decide_by"),
        "who": F("requester__name"),
        "asked": F("created_at"),
    }
    access, budgets = (
        rows.visible_to(user)
        .decided()
        .order_by()
        .annotate(sort=Value(sort, output_field=CharField()), usd=F(usd), **shared)
        .values_list("sort", "id", "usd", *shared)
        for sort, rows, usd in (
            (ACCESS, AccessRequest.objects.all(), "expected_monthly_usd"),
            (BUDGET, BudgetRequest.objects.all(), "limit_usd"),
        )
    )
    return access.union(budgets, all=True).order_by(*order.sql(OVER_BY, "-asked", "-id", "sort"))


def _load(places: Sequence[Any], more: BudgetRequestQuerySet) -> Iterator[AnyRequest]:
    """Give the requests at these places."""
    of = {kind: [pk for each, pk, *_ in places if each == kind] for kind in (ACCESS, BUDGET)}
    found: dict[tuple[str, int], AnyRequest] = {}
    if of[ACCESS]:
        rows = told_of(more, listed(AccessRequest.objects.filter(pk__in=of[ACCESS])))
        found |= {(ACCESS, request.pk): request for request in rows}
    if of[BUDGET]:
        increases = with_lent(BudgetRequest.objects.filter(pk__in=of[BUDGET]).placed())
        found |= {(BUDGET, request.pk): request for request in increases}
    return (found[kind, pk] for kind, pk, *_ in places if (kind, pk) in found)
