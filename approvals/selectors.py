"""What requests exist: those that wait for a person, those of his teams, those that are over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from django.db.models import F, Q, QuerySet

from approvals import policy
from approvals.eligibility import lent_of, lent_rows, turn_roles
from approvals.lists import (
    FIRST_PART,
    NEWEST_FIRST,
    OPEN_BY,
    SOONEST_FIRST,
    AnyRequest,
    decided,
    told_of,
)
from approvals.loading import granted_until, listed, loaded, with_lent, with_said, with_turn
from approvals.models import (
    AccessRequest,
    AccessRequestQuerySet,
    BudgetRequest,
    BudgetRequestQuerySet,
    Decision,
    Delegation,
    PolicyProposal,
    RequestStatus,
)
from approvals.owners import deciders_of
from core import clock
from core.errors import NotFoundError
from core.sorting import Order
from teams.models import Role, Team, User
from teams.selectors import RoleHolders, require_admin, role_holders, roles_of

MOST_OPEN = 500  # requests for more budget that are looked at; people are told of each by mail


class View(StrEnum):
    """The three lists of the approvals page."""

    WAITING = "waiting"
    TEAM = "team"
    DECIDED = "decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """The part of a list of requests that was asked for, in `rows`, with the length of the open lists.

    `requests` and `increases`, those for more budget, are the whole of an open list; `holders` reads who may
    decide them.
    """

    view: View
    rows: tuple[AnyRequest, ...]
    requests: tuple[AccessRequest, ...]
    increases: tuple[BudgetRequest, ...]
    counts: Mapping[View, int]
    holders: Callable[[], RoleHolders]


def inbox(
    user: User, view: View = View.WAITING, *, order: Order | None = None, part: slice = FIRST_PART
) -> Inbox:
    """Return a list of requests as this person may see it: the most urgent first, the over ones newest first,
    or by a column of `lists.OPEN_BY` and `lists.OVER_BY`.

    Waiting are those that he may decide himself now. One query, one more where one is open, one more for the
    decided ones and one for each kind of them, and one more where nothing tells that no open ones are for
    more budget.
    """
    holders = cache(role_holders)  # read where somebody has to be looked for
    visible = AccessRequest.objects.visible_to(user)
    asked = BudgetRequest.objects.visible_to(user)
    is_open = view is not View.DECIDED
    over = () if is_open else decided(user, order=order or NEWEST_FIRST, part=part, more=asked.pending())
    team = tuple(told_of(asked.pending(), listed(visible.pending()).order_by("decide_by", "pk")))
    waiting = tuple(request for request in team if may_decide(user, request, holders()))
    told = team or [each for each in over if isinstance(each, AccessRequest)]
    more = () if _is_none_more(told) else _soonest(asked.pending())
    mine = tuple(request for request in more if user.pk in deciders_of(request, holders()))
    lists: dict[View, tuple[AnyRequest, ...]] = {View.WAITING: (*waiting, *mine), View.TEAM: (*team, *more)}
    found = (order or SOONEST_FIRST).of(lists[view], OPEN_BY)[part] if is_open else over
    every = lists[view] if is_open else found
    return Inbox(
        view=view,
        rows=found,
        requests=tuple(request for request in every if isinstance(request, AccessRequest)),
        increases=tuple(request for request in every if isinstance(request, BudgetRequest)),
        counts={name: len(requests) for name, requests in lists.items()},
        holders=holders,
    )


def waiting_count(user: User) -> int:
    """Return how many requests wait for this person. Two queries, one more when some are for more budget.

    Every page shows this number, so no more is read than what says who decides.
    """
    increases = BudgetRequest.objects.pending().exclude(requester=user)
    overseen = AccessRequest.objects.visible_to(user).pending().exclude(requester=user)
    pending = list(told_of(increases, with_turn(overseen)))
    places = ("project__team__department", "team__department", "department")
    more = [] if _is_none_more(pending) else with_lent(increases.visible_to(user)).select_related(*places)
    found = list(more)
    if not pending and not found:
        return 0
    holders = role_holders()
    return sum(may_decide(user, request, holders) for request in pending) + sum(
        user.pk in deciders_of(request, holders) for request in found
    )


def _soonest(asked: BudgetRequestQuerySet) -> tuple[BudgetRequest, ...]:
    """Read these requests for more budget, the most urgent first. One query."""
    return tuple(with_lent(asked.placed()).order_by("decide_by", "pk")[:MOST_OPEN])


def _is_none_more(told: Sequence[AccessRequest]) -> bool:
    """Whether requests that `told_of` let tell say that there are none for more budget."""
    return bool(told) and not getattr(told[0], "has_more", True)


def may_decide(user: User, request: AccessRequest, holders: RoleHolders) -> bool:
    """Whether this person may decide a request that `listed()` or `with_turn()` returned."""
    counted = {*request.counted_ids, *request.represented_ids}
    here = holders.for_project(request.project)
    roles = turn_roles(request, request.waiting_role, here)
    return user.pk in policy.who_decides(roles, here, request.askers, counted, lent_of(lent_rows(request)))


def find(user: User, public_id: str) -> AccessRequest:
    """Return a request that the user may see, with all that its page shows. Three queries.

    Raises NotFoundError for one that does not exist or is outside his scope.
    """
    seen = AccessRequest.objects.visible_to(user).filter(public_id=public_id)
    request = loaded(seen).first()
    if request is None:
        raise NotFoundError("There is no such request, or it is not one of yours or of your teams.")
    return request


def find_increase(user: User, public_id: str) -> BudgetRequest:
    """Return a request for more budget that the user may see, with what was said. One query.

    Raises NotFoundError.
    """
    seen = BudgetRequest.objects.visible_to(user).placed().filter(public_id=public_id)
    request = with_said(with_lent(seen)).first()
    if request is None:
        raise NotFoundError("There is no such request, or it is not one of yours or of your teams.")
    return request


def asked_before(request: AccessRequest, *, limit: int) -> QuerySet[AccessRequest]:
    """Return what the same person asked for besides, what he holds from it first. One query when read."""
    others = AccessRequest.objects.filter(requester=request.requester_id).exclude(pk=request.pk)
    dated = others.select_related("tier", "project").annotate(granted_until=granted_until())  # type: ignore[no-redef]
    return dated.order_by(F("granted_until").desc(nulls_last=True), "-pk")[:limit]


def pending_for(user: User, *, project: int, tier: int) -> AccessRequest | None:
    """Return the request of the user that waits for this tier in this project, if any."""
    return AccessRequest.objects.pending().filter(beneficiary=user, project=project, tier=tier).first()


def waiting_for(person: User) -> tuple[AccessRequestQuerySet, BudgetRequestQuerySet]:
    """Return what a person waits for: access that he or somebody for him asked for, and more budget."""
    asked = AccessRequest.objects.pending().filter(Q(requester=person) | Q(beneficiary=person))
    return asked, BudgetRequest.objects.pending().filter(requester=person)


def waiting_in_team(person: User, team: Team) -> tuple[AccessRequestQuerySet, BudgetRequestQuerySet]:
    """Return what of that ends with his time in a team; who answers for the team still sees its budgets."""
    asked, wanted = waiting_for(person)
    roles = roles_of(person)
    stays = roles.oversees(team) or roles.sees_everything
    in_team = Q(project__team=team) | Q(team=team)
    return asked.filter(project__team=team), wanted.none() if stays else wanted.filter(in_team)


def last_decision(request: AccessRequest) -> Decision | None:
    """Return the decision that ended a request, using prefetched rows; None when no human decided it."""
    if request.status not in (RequestStatus.APPROVED, RequestStatus.DENIED):
        return None
    return max(request.decisions.all(), key=lambda decision: decision.pk, default=None)


def lent_for_team(team: Team) -> list[Delegation]:
    """Return delegations of leading a team or directing its department, in force or to come. One query."""
    here = Q(team=team, role=Role.LEAD) | Q(department=team.department_id, role=Role.DIRECTOR)
    open_ended = Delegation.objects.filter(here, valid_until__gt=clock.now(), taker__is_active=True)
    return list(open_ended.select_related("giver", "taker").order_by("valid_from", "pk"))


def delegations_visible_to(user: User) -> QuerySet[Delegation]:
    """Return what a person lends and was lent, over or not; administrators see every delegation."""
    rows = Delegation.objects.select_related("giver", "taker", "team", "department", "ended_by")
    if Role.ADMIN in roles_of(user).organisation_wide:
        return rows
    return rows.filter(Q(giver=user) | Q(taker=user))


def proposals_for(user: User) -> QuerySet[PolicyProposal]:
    """Return every proposed change of a policy. Raises RoleNeededError for all but administrators."""
    require_admin(user, "see what is proposed")
    return PolicyProposal.objects.select_related("tier", "base", "proposed_by", "ended_by", "policy")
