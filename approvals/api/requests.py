"""Requests for access and for more budget in the API: ask, read, change, talk, withdraw, decide."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals import selectors, services
from approvals.loading import loaded, with_lent, with_said
from approvals.models import AccessRequest, BudgetRequest, RequestStatus, Verdict
from approvals.rules import tell_in_force
from approvals.serializers.requests import (
    AccessRequestAmendIn,
    AccessRequestCommentIn,
    AccessRequestCreateIn,
    AccessRequestDecideIn,
    AccessRequestExtendIn,
    AccessRequestOut,
    AccessRequestQuery,
    ApprovedTogetherOut,
    ApproveTogetherIn,
    BreakGlassIn,
    BudgetRequestAmendIn,
    BudgetRequestCommentIn,
    BudgetRequestCreateIn,
    BudgetRequestDecideIn,
    BudgetRequestOut,
    BudgetRequestQuery,
)
from budgets.models import Budget
from budgets.ports import KeyDirectory
from budgets.selectors import visible_budgets
from catalog.models import Tier
from catalog.selectors import model_names
from core.errors import InvalidInputError, StaleError
from core.rest.fields import id_pattern
from core.rest.schema import operation
from core.rest.serializers import NothingIn
from core.rest.views import NounViewSet, referred
from keys.models import ApiKey, Grant
from teams.models import Project
from teams.selectors import role_holders

# A proxy that compresses makes a strong tag weak, so both are taken back.
REVISION_TAG = r'(?:W/)?"([1-9][0-9]{0,8})"'
IF_MATCH = OpenApiParameter(
    "If-Match",
    type=str,
    location=OpenApiParameter.HEADER,
    description="The ETag of the request as it was read, instead of seen_revision.",
)
ETAG = OpenApiParameter(
    "ETag",
    type=str,
    location=OpenApiParameter.HEADER,
    response=[200, 201],
    description="The revision, in quotes.",
)


class RequestViewSet(NounViewSet):
    """Requests, each answered with its revision as its tag."""

    noun = "request"
    reads_carry = (ETAG,)

    def answer(self, row: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Return a request with its revision as its tag."""
        return super().answer(row, status=status, headers={**(headers or {}), "ETag": f'"{row.revision}"'})


class AccessRequestViewSet(RequestViewSet):
    """The person's own requests, those of the teams he oversees, and those he is a delegate for."""

    out = AccessRequestOut
    list_query = AccessRequestQuery
    lookup_value_regex = id_pattern("req")

    def get_queryset(self) -> QuerySet[AccessRequest]:
        """Return the requests in scope."""
        return loaded(AccessRequest.objects.visible_to(self.actor))

    def chosen(self, rows: QuerySet[AccessRequest]) -> QuerySet[AccessRequest]:
        """Narrow the list down to what the parameters ask for."""
        found = self.narrowed(
            rows, project="project__public_id", requester="requester__public_id", tier="tier"
        )
        if "waiting_for" in self.query:
            found = found.filter(pk__in=[request.pk for request in selectors.inbox(self.actor).requests])
        return found.filter(pk__in=in_state(self.query["status"])) if "status" in self.query else found

    def about(self, rows: Sequence[AccessRequest]) -> dict[str, Any]:
        """Return the names of models, who holds which role, and who asks. Replaced rules cost one query."""
        replaced = [request for request in rows if request.policy.retired_at]
        if replaced:
            tell_in_force(replaced)
        return {
            "model_names": model_names({model for request in rows for model in request.model_ids}),
            "holders": role_holders(),
            "user_id": self.actor.pk,
        }

    @operation(
        takes=AccessRequestCreateIn, gives=AccessRequestOut, status=201, refuses=(409, 422), parameters=[ETAG]
    )
    def create(self, request: Request) -> Response:
        """Ask for access to a tier in a project, for oneself."""
        wanted = self.body(AccessRequestCreateIn)
        made = services.submit(
            actor=self.actor,
            project=referred(
                Project.objects.visible_to(self.actor),
                field="project",
                noun="project",
                public_id=wanted["project"],
            ),
            tier=referred(Tier.objects.all(), field="tier", noun="tier", number=wanted["tier"]),
            reason=wanted["reason"],
            expected_monthly_usd=wanted["expected_monthly_usd"],
            model_names=wanted["models"],
            duration_days=wanted.get("duration_days"),
            extends_key=self._key(wanted),
            ticket=wanted["ticket"],
        )
        return self.created(self.found(made.public_id))

    @operation(
        takes=AccessRequestExtendIn, gives=AccessRequestOut, status=201, refuses=(409, 422), parameters=[ETAG]
    )
    @action(detail=False, methods=["post"])
    def extend(self, request: Request) -> Response:
        """Ask that one's own access goes on where it ends, with the same models and without a gap."""
        wanted = self.body(AccessRequestExtendIn)
        own = Grant.objects.filter(key__owner=self.actor)
        grant = referred(own, field="grant", noun="access", public_id=wanted.pop("grant"))
        made = services.extend(actor=self.actor, grant=grant, **wanted)
        return self.answer(self.found(made.public_id), status=201)

    @operation(takes=BreakGlassIn, gives=AccessRequestOut, status=201, refuses=(409, 422), parameters=[ETAG])
    @action(detail=False, methods=["post"], url_path="break-glass")
    def break_glass(self, request: Request) -> Response:
        """Take short, capped access at once; everybody is told, and the answer is the review that follows."""
        wanted = self.body(BreakGlassIn)
        made, _ = services.break_glass(
            actor=self.actor,
            project=referred(
                Project.objects.visible_to(self.actor),
                field="project",
                noun="project",
                public_id=wanted["project"],
            ),
            tier=referred(Tier.objects.all(), field="tier", noun="tier", number=wanted["tier"]),
            reason=wanted["reason"],
            model_names=wanted["models"],
            extends_key=self._key(wanted),
            ticket=wanted["ticket"],
        )
        return self.answer(self.found(made.public_id), status=201)

    @operation(
        takes=AccessRequestAmendIn,
        gives=AccessRequestOut,
        refuses=(404, 409, 410, 412, 422),
        parameters=[ETAG],
    )
    @action(detail=True, methods=["post"])
    def amend(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Change what is asked for: a new revision that everybody decides anew. Only its requester may."""
        wanted = self.body(AccessRequestAmendIn)
        models = wanted.pop("models")
        services.amend(actor=self.actor, request=self.found(id), model_names=models, **wanted)
        return self.answer(self.found(id))

    @operation(
        takes=AccessRequestCommentIn, gives=AccessRequestOut, refuses=(404, 409, 410, 422), parameters=[ETAG]
    )
    @action(detail=True, methods=["post"])
    def comment(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Say something about a pending request, or offer a lower tier instead. It changes nothing of it."""
        wanted = self.body(AccessRequestCommentIn)
        number = wanted.get("offered_tier")
        tier = (
            None
            if number is None
            else referred(Tier.objects.all(), field="offered_tier", noun="tier", number=number)
        )
        services.comment(actor=self.actor, request=self.found(id), text=wanted["text"], offered_tier=tier)
        return self.answer(self.found(id))

    @operation(gives=AccessRequestOut, refuses=(404, 409, 410, 422), parameters=[ETAG])
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Take a request back. Only its requester may; the second time changes nothing.

        The review of a broken glass stays until somebody has decided it (422).
        """
        self.body(NothingIn)
        services.withdraw(actor=self.actor, request=self.found(id))
        return self.answer(self.found(id))

    @operation(
        takes=AccessRequestDecideIn,
        gives=AccessRequestOut,
        refuses=(404, 409, 410, 412, 422),
        parameters=[IF_MATCH, ETAG],
    )
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Approve or deny the revision that was read. The same verdict once more changes nothing."""
        wanted = self.body(AccessRequestDecideIn)
        seen = seen_revision(wanted.pop("seen_revision", None), request.headers)
        services.decide(actor=self.actor, request=self.found(id), seen_revision=seen, **wanted)
        return self.answer(self.found(id))

    @operation(takes=ApproveTogetherIn, gives=ApprovedTogetherOut, refuses=(410, 412))
    @action(detail=False, methods=["post"], url_path="approve-together")
    def approve_together(self, request: Request) -> Response:
        """Approve several small requests of Tier 2, each by itself; one that is refused stops no other.

        Where none is approved, the first refusal is the answer.
        """
        wanted = self.body(ApproveTogetherIn)["requests"]
        seen = {each["id"]: each["seen_revision"] for each in wanted}
        if len(seen) < len(wanted):
            raise InvalidInputError("Name each request once.", field="requests")
        rows = list(self.get_queryset().filter(public_id__in=seen).order_by("decide_by", "pk"))
        if len(rows) < len(seen):
            missing = ", ".join(sorted(seen.keys() - {row.public_id for row in rows}))
            raise InvalidInputError(f"There is no {missing}, or you may not see it.", field="requests")
        chosen = [(row, seen[row.public_id]) for row in rows]
        answered = services.approve_together(actor=self.actor, chosen=chosen)
        refusals = [each.refusal for each in answered if each.refusal]
        if len(refusals) == len(answered):
            raise refusals[0]
        return Response(ApprovedTogetherOut({"answered": answered}).data)

    def _key(self, wanted: Mapping[str, Any]) -> ApiKey | None:
        if "extends_key" not in wanted:
            return None
        keys = ApiKey.objects.visible_to(self.actor)
        return referred(keys, field="extends_key", noun="key", public_id=wanted["extends_key"])


class BudgetRequestViewSet(RequestViewSet):
    """The person's own requests for more budget, those he oversees, and those he is a delegate for."""

    out = BudgetRequestOut
    list_query = BudgetRequestQuery
    lookup_value_regex = id_pattern("brq")
    keys: ClassVar[KeyDirectory]

    def get_queryset(self) -> QuerySet[BudgetRequest]:
        """Return the requests in scope."""
        return with_said(with_lent(BudgetRequest.objects.visible_to(self.actor).placed()))

    def chosen(self, rows: QuerySet[BudgetRequest]) -> QuerySet[BudgetRequest]:
        """Narrow the list down to a budget and a status as it is written down."""
        return self.narrowed(rows, budget="budget__public_id", status="status")

    def about(self, rows: Sequence[BudgetRequest]) -> dict[str, Any]:
        """Return who holds which role, and who asks."""
        return {"holders": role_holders(), "user_id": self.actor.pk}

    @operation(
        takes=BudgetRequestCreateIn, gives=BudgetRequestOut, status=201, refuses=(409, 422), parameters=[ETAG]
    )
    def create(self, request: Request) -> Response:
        """Ask for a higher limit of a budget: for good, or until a moment, as a top-up."""
        wanted = self.body(BudgetRequestCreateIn)
        visible = visible_budgets(self.actor, key_ids=self.keys.visible_ids(self.actor))
        budget: Budget = referred(visible, field="budget", noun="budget", public_id=wanted.pop("budget"))
        made = services.ask_increase(actor=self.actor, budget=budget, **wanted)
        return self.created(self.found(made.public_id))

    @operation(
        takes=BudgetRequestAmendIn,
        gives=BudgetRequestOut,
        refuses=(404, 409, 410, 412, 422),
        parameters=[ETAG],
    )
    @action(detail=True, methods=["post"])
    def amend(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Change what is asked for; only its requester may. The clock to decide starts anew."""
        wanted = self.body(BudgetRequestAmendIn)
        services.amend_increase(actor=self.actor, request=self.found(id), **wanted)
        return self.answer(self.found(id))

    @operation(
        takes=BudgetRequestCommentIn, gives=BudgetRequestOut, refuses=(404, 409, 410, 422), parameters=[ETAG]
    )
    @action(detail=True, methods=["post"])
    def comment(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Say something about a pending request. It changes nothing of it."""
        wanted = self.body(BudgetRequestCommentIn)
        services.comment_increase(actor=self.actor, request=self.found(id), **wanted)
        return self.answer(self.found(id))

    @operation(gives=BudgetRequestOut, refuses=(404, 409, 410), parameters=[ETAG])
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Take a request back. Only its requester may; the second time changes nothing."""
        self.body(NothingIn)
        services.withdraw_increase(actor=self.actor, request=self.found(id))
        return self.answer(self.found(id))

    @operation(
        takes=BudgetRequestDecideIn,
        gives=BudgetRequestOut,
        refuses=(404, 409, 410, 412, 422),
        parameters=[IF_MATCH, ETAG],
    )
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, id: str) -> Response:  # noqa: A002  the name in the address
        """Approve or deny the revision that was read; an approval sets the limit at once."""
        wanted = self.body(BudgetRequestDecideIn)
        verdict = Verdict(wanted.pop("verdict"))
        seen = seen_revision(wanted.pop("seen_revision", None), request.headers)
        services.decide(
            actor=self.actor, request=self.found(id), verdict=verdict, seen_revision=seen, **wanted
        )
        return self.answer(self.found(id))


def in_state(status: str) -> QuerySet[AccessRequest]:
    """Return the requests with a status as time has left it: nobody can decide one past its time."""
    requests = AccessRequest.objects
    match status:
        case RequestStatus.PENDING:
            return requests.pending()
        case RequestStatus.EXPIRED:
            return requests.decided().filter(status__in=(RequestStatus.EXPIRED, RequestStatus.PENDING))
        case _:
            return requests.filter(status=status)


def seen_revision(in_body: int | None, headers: Mapping[str, str]) -> int:
    """Return the revision that the actor read, from the body or from If-Match.

    Raises StaleError for a tag of another shape, InvalidInputError when there is none or they differ.
    """
    tag = headers.get("If-Match")
    if tag is None:
        if in_body is None:
            raise InvalidInputError(
                "Say which revision you read: seen_revision, or If-Match with the ETag.",
                field="seen_revision",
            )
        return in_body
    match = re.fullmatch(REVISION_TAG, tag)
    if match is None:
        raise StaleError("If-Match is not the ETag of this request. Read it again, then decide.")
    if in_body not in {None, int(match[1])}:
        raise InvalidInputError("seen_revision and If-Match name two revisions.", field="seen_revision")
    return int(match[1])
