"""What requests exist: those that wait for a person, those of his teams, those that are over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, F, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, JSONObject

from approvals import policy
from approvals.eligibility import delegation_covers, lent_of, lent_rows, live_delegations, turn_roles
from approvals.models import (
    AccessRequest,
    AccessRequestQuerySet,
    BudgetComment,
    BudgetRequest,
    BudgetRequestQuerySet,
    Comment,
    Decision,
    Delegation,
    PolicyProposal,
    RequestStatus,
    Stage,
)
from approvals.owners import deciders_of
from core import clock
from core.errors import NotFoundError
from keys.models import Grant
from teams.models import Membership, Role, RoleAssignment, Team, User
from teams.selectors import RoleHolders, require_admin, role_holders, roles_of

SHOWN = 50
MOST_OPEN = 500  # requests for more budget that are looked at; people are told of each by mail
PARTS: tuple[Any, ...] = (
    "stages",
    Prefetch("decisions", Decision.objects.select_related("actor", "on_behalf_of")),
)


class View(StrEnum):
    """The three lists of the approvals page."""

    WAITING = "waiting"
    TEAM = "team"
    DECIDED = "decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """One list of requests with the length of the open ones; `holders` say who may decide them.

    `increases` are those for more budget.
    """

    view: View
    requests: tuple[AccessRequest, ...]
    increases: tuple[BudgetRequest, ...]
    counts: Mapping[View, int]
    holders: RoleHolders


def inbox(user: User, view: View = View.WAITING) -> Inbox:
    """Return a list of requests as this person may see it, the most urgent first, the over ones newest first.

    Waiting are those that he may decide himself now. Two queries, one more for the decided ones, and one more
    where nothing is open or some are for more budget.
    """
    holders = role_holders()
    visible = AccessRequest.objects.visible_to(user)
    asked = BudgetRequest.objects.visible_to(user)
    team = tuple(_told_of(asked, listed(visible.pending()).order_by("decide_by", "pk")))
    waiting = tuple(request for request in team if may_decide(user, request, holders))
    lists = {View.WAITING: waiting, View.TEAM: team}
    newest_first = with_lent(asked.placed()).order_by(F("decided_at").desc(nulls_first=True), "-pk")
    increases = _by_view(user, _unless_none(newest_first[: MOST_OPEN + SHOWN], team), holders)
    return Inbox(
        view=view,
        requests=lists[view] if view in lists else tuple(listed(visible.decided()).order_by("-pk")[:SHOWN]),
        increases=increases[view],
        counts={name: len(requests) + len(increases[name]) for name, requests in lists.items()},
        holders=holders,
    )


def _by_view(
    user: User, found: Sequence[BudgetRequest], holders: RoleHolders
) -> dict[View, tuple[BudgetRequest, ...]]:
    """Divide requests for more budget into the lists of the page."""
    pending = [request for request in found if request.state is RequestStatus.PENDING]
    asked = tuple(sorted(pending, key=lambda request: (request.decide_by, request.pk)))
    return {
        View.WAITING: tuple(request for request in asked if user.pk in deciders_of(request, holders)),
        View.TEAM: asked,
        View.DECIDED: tuple(request for request in found if request not in pending)[:SHOWN],
    }


def waiting_count(user: User) -> int:
    """Return how many requests wait for this person. Two queries, one more when some are for more budget.

    Every page shows this number, so no more is read than what says who decides.
    """
    overseen = AccessRequest.objects.pending().visible_to(user)
    more = BudgetRequest.objects.visible_to(user).pending().exclude(requester=user)
    pending = _told_of(more, _with_turn(overseen.exclude(requester=user)))
    placed = more.select_related("project__team__department", "team__department", "department")
    increases = _unless_none(with_lent(placed), pending)
    if not pending and not increases:
        return 0
    holders = role_holders()
    return sum(may_decide(user, request, holders) for request in pending) + sum(
        user.pk in deciders_of(request, holders) for request in increases
    )


def _told_of(more: BudgetRequestQuerySet, requests: AccessRequestQuerySet) -> list[AccessRequest]:
    """Read requests for access together with whether there are others for more budget."""
    return list(requests.annotate(has_more=Exists(more)))


def _unless_none(more: BudgetRequestQuerySet, told: Sequence[AccessRequest]) -> list[BudgetRequest]:
    """Read the requests for more budget, unless what `_told_of` returned says that there are none."""
    return [] if told and not getattr(told[0], "has_more", True) else list(more)


def may_decide(user: User, request: AccessRequest, holders: RoleHolders) -> bool:
    """Whether this person may decide a request that `listed()` or `_with_turn()` returned."""
    counted = {*request.counted_ids, *request.represented_ids}
    here = holders.for_project(request.project)
    roles = turn_roles(request, request.waiting_role)
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
    dated = others.select_related("tier", "project").annotate(granted_until=_granted_until())  # type: ignore[no-redef]
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


def listed(requests: AccessRequestQuerySet) -> AccessRequestQuerySet:
    """Return these requests with their people, their place and the facts that the model names; one query."""
    facts: dict[str, Any] = {
        "said": _said(),
        "extendable_grant": _extendable(),
        "beneficiary_works": _beneficiary_works(),
        "granted_until": _granted_until(),
    }
    placed = _with_turn(requests).select_related("project__team__department", "project__owner", "tier")
    return placed.select_related("requester", "beneficiary", "key", "extends_key").annotate(**facts)


def _with_turn(requests: AccessRequestQuerySet) -> AccessRequestQuerySet:
    """Return these requests with what says who decides them now; one query."""
    now_on = {"request": OuterRef("pk"), "revision": OuterRef("revision")}
    turn = Stage.objects.filter(**now_on, index=OuterRef("stage_index"))
    counted = Decision.objects.filter(**now_on).order_by("pk")
    facts: dict[str, Any] = {
        "waiting_role": Subquery(turn.values("role")),
        "counted_ids": ArraySubquery(counted.values("actor_id")),
        "represented_ids": ArraySubquery(
            counted.filter(on_behalf_of__isnull=False).values("on_behalf_of_id")
        ),
        "lent": _lent(OuterRef("project__team"), OuterRef("project__team__department")),
    }
    return requests.select_related("project__team", "policy").annotate(**facts)


def loaded(requests: AccessRequestQuerySet) -> AccessRequestQuerySet:
    """Return these requests as `listed()` does, with their stages and decisions; three queries."""
    return listed(requests).prefetch_related(*PARTS)


def last_decision(request: AccessRequest) -> Decision | None:
    """Return the decision that ended a request, using prefetched rows; None when no human decided it."""
    if request.status not in (RequestStatus.APPROVED, RequestStatus.DENIED):
        return None
    return max(request.decisions.all(), key=lambda decision: decision.pk, default=None)


def _beneficiary_works() -> Any:
    person = Q(user=OuterRef("beneficiary"), team=OuterRef("project__team"), user__is_active=True)
    leads = RoleAssignment.objects.live().filter(person, role=Role.LEAD)
    return Exists(Membership.objects.live().filter(person)) | Exists(leads)


def _said() -> ArraySubquery:
    row = JSONObject(
        id="public_id",
        who="author__name",
        at="at",
        text="text",
        revision="revision",
        tier="offered_tier__number",
    )
    return ArraySubquery(Comment.objects.filter(request=OuterRef("pk")).order_by("pk").values(row=row))


def _extendable() -> Subquery:
    last = Grant.objects.filter(source_request=OuterRef("public_id"), superseded_by__isnull=True)
    return Subquery(last.filter(key__expires_at__gt=F("expires_at")).values("public_id")[:1])


def with_lent(requests: BudgetRequestQuerySet) -> BudgetRequestQuerySet:
    """Return these requests for more budget with the delegations where they are; no further query."""
    team = Coalesce(OuterRef("project__team"), OuterRef("team"))
    departments = ("project__team__department", "team__department", "department")
    department = Coalesce(*(OuterRef(name) for name in departments))
    return requests.annotate(lent=_lent(team, department))  # type: ignore[no-redef]


def with_said(requests: BudgetRequestQuerySet) -> BudgetRequestQuerySet:
    """Return these requests for more budget with what was said about them; no further query."""
    row = JSONObject(who="author__name", at="at", text="text", revision="revision")
    rows = BudgetComment.objects.filter(request=OuterRef("pk")).order_by("pk").values(row=row)
    return requests.annotate(said=ArraySubquery(rows))  # type: ignore[no-redef]


def _lent(team: Any, department: Any) -> ArraySubquery:
    here = delegation_covers(team=team, department=department)
    row = JSONObject(role="role", giver_id="giver_id", taker_id="taker_id", name="taker__name")
    return ArraySubquery(live_delegations().filter(here).values(row=row))


def _granted_until() -> Subquery:
    now = clock.now()
    active = Grant.objects.filter(
        source_request=OuterRef("public_id"),
        revoked_at__isnull=True,
        key__revoked_at__isnull=True,
        expires_at__gt=now,
    )
    return Subquery(active.values("expires_at"))


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
