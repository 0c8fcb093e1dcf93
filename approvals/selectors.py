"""What requests exist: those that wait for a person, those of his teams, those that are over."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from approvals.eligibility import deciders
from approvals.models import AccessRequest, Decision, RequestStatus
from core.errors import NotFoundError
from teams.models import Membership, Role, RoleAssignment, User
from teams.selectors import RoleHolders, role_holders

SHOWN = 50


class View(StrEnum):
    """The three lists of the approvals page."""

    WAITING = "waiting"
    TEAM = "team"
    DECIDED = "decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """One list of requests with the length of the open ones; `holders` say who may decide them."""

    view: View
    requests: tuple[AccessRequest, ...]
    counts: Mapping[View, int]
    holders: RoleHolders


def inbox(user: User, view: View = View.WAITING) -> Inbox:
    """Return a list of requests as this person may see it, the most urgent first, the over ones newest first.

    Waiting are those that he may decide himself now. Four queries, one more for the decided ones.
    """
    holders = role_holders()
    visible = AccessRequest.objects.visible_to(user)
    team = tuple(loaded(visible.pending()).order_by("decide_by", "pk"))
    waiting = tuple(request for request in team if user.pk in deciders(request, holders))
    lists = {View.WAITING: waiting, View.TEAM: team}
    return Inbox(
        view=view,
        requests=lists[view] if view in lists else tuple(loaded(visible.decided()).order_by("-pk")[:SHOWN]),
        counts={name: len(requests) for name, requests in lists.items()},
        holders=holders,
    )


def waiting_count(user: User) -> int:
    """Return how many requests wait for this person. Four queries at most, one when nothing is pending."""
    pending = list(loaded(AccessRequest.objects.visible_to(user).pending()))
    if not pending:
        return 0
    holders = role_holders()
    return sum(user.pk in deciders(request, holders) for request in pending)


def find(user: User, public_id: str) -> AccessRequest:
    """Return a request that the user may see, with all that its page shows. Three queries.

    Raises NotFoundError for one that does not exist or is outside his scope.
    """
    request = loaded(AccessRequest.objects.visible_to(user).filter(public_id=public_id)).first()
    if request is None:
        raise NotFoundError("There is no such request, or it is not one of yours or of your teams.")
    return request


def own_requests(user: User) -> QuerySet[AccessRequest]:
    """Return what the user asked for, the newest first. Three queries when read."""
    return loaded(AccessRequest.objects.filter(requester=user)).order_by("-pk")


def pending_for(user: User, *, project: int, tier: int) -> AccessRequest | None:
    """Return the request of the user that waits for this tier in this project, if any."""
    waiting = AccessRequest.objects.pending().filter(beneficiary=user, project=project, tier=tier)
    return waiting.first()


def loaded(requests: QuerySet[AccessRequest]) -> QuerySet[AccessRequest]:
    """Return these requests with people, project, stages and decisions; three queries when read."""
    team = OuterRef("project__team")
    person = Q(user=OuterRef("beneficiary"), team=team, user__is_active=True)
    works = Exists(Membership.objects.live().filter(person))
    leads = Exists(RoleAssignment.objects.live().filter(person, role=Role.LEAD))
    return (
        requests.select_related(
            "project__team__department",
            "project__owner",
            "requester",
            "beneficiary",
            "tier",
            "policy",
            "key",
            "extends_key",
        )
        .prefetch_related("stages", Prefetch("decisions", Decision.objects.select_related("actor")))
        .annotate(beneficiary_works=works | leads)  # type: ignore[no-redef]  # the model declares it
    )


def last_decision(request: AccessRequest) -> Decision | None:
    """Return the decision that ended a request, using prefetched rows; None when no human decided it."""
    if request.status not in (RequestStatus.APPROVED, RequestStatus.DENIED):
        return None
    return max(request.decisions.all(), key=lambda decision: decision.pk, default=None)
