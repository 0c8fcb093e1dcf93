"""How requests for access look in the API: what was asked, who may decide, who decided."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from approvals.allowed import refusals
from approvals.cases import remarks
from approvals.eligibility import deciders, decisions_of, names_of_deciders, stages_of
from approvals.models import AccessRequest, BudgetRequest, RequestKind, RequestStatus, Verdict
from approvals.owners import deciders_of, names_of_owners
from approvals.services.together import MOST_TOGETHER
from catalog.serializers import HIGHEST_TIER
from core.rest.fields import Moment, PublicId, QueryNumber, Text, Usd, WholeNumber
from core.rest.serializers import CodedOut, In, NamedOut, Out, PageQuery
from teams.models import Role
from teams.selectors import RoleHolders

MAX_TEXT_CHARACTERS = 2_000
MAX_DAYS = 3_650
MAX_MODELS, MAX_MODEL_CHARACTERS = 100, 100
MAX_REVISION = 2**31 - 1
MAX_TICKET_CHARACTERS = 200


class StageOut(Out):
    """Who must agree at one stage, how many of them, and how many did."""

    role = serializers.ChoiceField(Role.choices)
    quorum = serializers.IntegerField()
    agreed = serializers.IntegerField()


class DecisionOut(Out):
    """One person's verdict on one revision; the cap and the days are null where they were left as asked."""

    id = serializers.CharField(source="public_id")
    revision = serializers.IntegerField()
    stage = serializers.IntegerField(source="stage_index", help_text="From 0.")
    actor = NamedOut()
    on_behalf_of = NamedOut(allow_null=True)
    verdict = serializers.ChoiceField(Verdict.choices)
    comment = serializers.CharField()
    monthly_cap_usd = Usd(allow_null=True)
    duration_days = serializers.IntegerField(allow_null=True)
    at = Moment()


class CommentOut(Out):
    """Something that was said about a request, at a revision of it."""

    who = serializers.CharField()
    at = Moment()
    text = serializers.CharField()
    revision = serializers.IntegerField()


class AccessCommentOut(CommentOut):
    """Something that was said about a request; with a tier it offers that instead."""

    offered_tier = serializers.IntegerField(source="tier", allow_null=True)


class RequestOut(Out):
    """What every request shows of itself and of the clock that runs."""

    id = serializers.CharField(source="public_id")
    status = serializers.ChoiceField(RequestStatus.choices, source="state")
    revision = serializers.IntegerField(help_text="What a decision must have seen.")
    reason = serializers.CharField()
    requester = NamedOut()
    created_at = Moment()
    decide_by = Moment()
    sla_at = serializers.SerializerMethodField(
        help_text="When a decision should have come, and the next role, if there is one, may decide too."
    )
    decided_at = Moment(allow_null=True)

    @extend_schema_field(Moment(allow_null=True))
    def get_sla_at(self, request: AccessRequest | BudgetRequest) -> str | None:
        """The end of the clock that runs now; null when it is over."""
        is_open = request.state is RequestStatus.PENDING
        return Moment().to_representation(request.sla_at) if is_open else None


class AccessRequestOut(RequestOut):
    """A request at its current revision. `deciders` are the people who may decide it now."""

    kind = serializers.ChoiceField(RequestKind.choices)
    project = CodedOut()
    tier = serializers.IntegerField(source="tier_id")
    models = serializers.SerializerMethodField()
    ticket = serializers.CharField()
    duration_days = serializers.IntegerField()
    expected_monthly_usd = Usd()
    beneficiary = NamedOut()
    extends_key = serializers.CharField(source="extends_key.public_id", allow_null=True)
    key = serializers.CharField(source="key.public_id", allow_null=True)
    closed_reason = serializers.CharField()
    stage = serializers.IntegerField(source="stage_index", help_text="The stage that decides next, from 0.")
    stages = serializers.SerializerMethodField()
    decisions = DecisionOut(many=True)
    comments = serializers.SerializerMethodField()
    deciders = serializers.SerializerMethodField()
    may_decide = serializers.SerializerMethodField()
    may_approve = serializers.SerializerMethodField()

    def get_models(self, request: AccessRequest) -> list[str]:
        """Names that callers send; none means every model of the tier."""
        names: dict[int, str] = self.context["model_names"]
        return [names[number] for number in request.model_ids]

    @extend_schema_field(StageOut(many=True))
    def get_stages(self, request: AccessRequest) -> list[dict[str, str | int]]:
        """The stages of this revision."""
        counted = [decision.stage_index for decision in decisions_of(request)]
        return [
            {"role": stage.role, "quorum": stage.quorum, "agreed": counted.count(stage.index)}
            for stage in stages_of(request)
        ]

    @extend_schema_field(AccessCommentOut(many=True))
    def get_comments(self, request: AccessRequest) -> list[dict[str, Any]]:
        """What was said about it, the oldest first."""
        return list(AccessCommentOut(remarks(request.said), many=True).data)

    def get_deciders(self, request: AccessRequest) -> list[str]:
        """Names of the people who may decide it now."""
        holders: RoleHolders = self.context["holders"]
        is_open = request.state is RequestStatus.PENDING
        return list(names_of_deciders(request, holders)) if is_open else []

    def get_may_decide(self, request: AccessRequest) -> bool:
        """Whether the signed-in person is one of them."""
        return self.context["user_id"] in self._deciders(request)

    def get_may_approve(self, request: AccessRequest) -> bool:
        """Whether an approval of his could count: false also where the request can only be denied, because it
        lacks what the rules now ask for, or its beneficiary left the team.
        """
        return self.get_may_decide(request) and not refusals(request)

    def _deciders(self, request: AccessRequest) -> frozenset[int]:
        if request.state is not RequestStatus.PENDING:
            return frozenset()
        return deciders(request, self.context["holders"])


class AccessRequestQuery(PageQuery):
    """Which requests to list."""

    status = serializers.ChoiceField(RequestStatus.choices, required=False)
    project = PublicId("prj", required=False)
    requester = PublicId("usr", required=False)
    tier = QueryNumber(required=False, min_value=1, max_value=HIGHEST_TIER)
    waiting_for = serializers.ChoiceField(
        [("me", "Me")], required=False, help_text="Those that the signed-in person may decide now."
    )


class AccessRequestCreateIn(In):
    """What is asked for, for oneself. Everything else comes from the policy and from the approval."""

    project = PublicId("prj")
    tier = WholeNumber(min_value=1, max_value=HIGHEST_TIER)
    models = serializers.ListField(
        child=Text(max_length=MAX_MODEL_CHARACTERS),
        max_length=MAX_MODELS,
        default=list,
        help_text="Names of models of the tier; none means all of them.",
    )
    reason = Text(max_length=MAX_TEXT_CHARACTERS, help_text="Why, and why a cheaper tier will not do.")
    expected_monthly_usd = Usd()
    duration_days = WholeNumber(
        min_value=1,
        max_value=MAX_DAYS,
        required=False,
        allow_null=True,
        help_text="The policy's unless said.",
    )
    extends_key = PublicId("key", required=False, help_text="An own key to raise, instead of a new one.")
    ticket = Text(max_length=MAX_TICKET_CHARACTERS, default="", help_text="Some policies need one.")


class AccessRequestExtendIn(In):
    """For how much longer own access is asked for; its models stay as they are."""

    grant = PublicId("grn")
    reason = Text(max_length=MAX_TEXT_CHARACTERS)
    duration_days = WholeNumber(
        min_value=1, max_value=MAX_DAYS, required=False, allow_null=True, help_text="From its end."
    )
    expected_monthly_usd = Usd(required=False, allow_null=True, help_text="The cap stays unless said.")
    ticket = Text(max_length=MAX_TICKET_CHARACTERS, default="")


class BreakGlassIn(In):
    """Where the emergency is, and what it is. For how long and up to how much, the policy says."""

    project = PublicId("prj")
    tier = WholeNumber(min_value=1, max_value=HIGHEST_TIER)
    models = serializers.ListField(
        child=Text(max_length=MAX_MODEL_CHARACTERS),
        max_length=MAX_MODELS,
        default=list,
        help_text="Names of models of the tier; none means all of them.",
    )
    reason = Text(max_length=MAX_TEXT_CHARACTERS, help_text="Everybody who is told reads it.")
    extends_key = PublicId("key", required=False, help_text="An own key to raise, instead of a new one.")
    ticket = Text(max_length=MAX_TICKET_CHARACTERS, default="")


class AccessRequestDecideIn(In):
    """A verdict on the revision that was read. An approval may lower the cap and the days."""

    verdict = serializers.ChoiceField(Verdict.choices)
    seen_revision = WholeNumber(
        min_value=1, max_value=MAX_REVISION, required=False, help_text="Or send it as If-Match."
    )
    comment = Text(max_length=MAX_TEXT_CHARACTERS, default="", help_text="A denial needs one.")
    monthly_cap_usd = Usd(required=False, allow_null=True)
    duration_days = WholeNumber(min_value=1, max_value=MAX_DAYS, required=False, allow_null=True)


class AccessRequestAmendIn(In):
    """What is asked for instead: everything, as in a new request."""

    seen_revision = WholeNumber(min_value=1, max_value=MAX_REVISION)
    models = serializers.ListField(
        child=Text(max_length=MAX_MODEL_CHARACTERS),
        max_length=MAX_MODELS,
        default=list,
        help_text="Names of models of the tier; none means all of them. An extension keeps its own.",
    )
    reason = Text(max_length=MAX_TEXT_CHARACTERS)
    expected_monthly_usd = Usd()
    duration_days = WholeNumber(min_value=1, max_value=MAX_DAYS, required=False, allow_null=True)
    ticket = Text(max_length=MAX_TICKET_CHARACTERS, default="")


class SeenRequestIn(In):
    """One request as it was read."""

    id = PublicId("req")
    seen_revision = WholeNumber(min_value=1, max_value=MAX_REVISION)


class ApproveTogetherIn(In):
    """Small requests of one tier to approve as they were asked for."""

    requests = serializers.ListField(child=SeenRequestIn(), min_length=1, max_length=MOST_TOGETHER)


class RefusalOut(Out):
    """Why one of several was not approved, as a problem document says it."""

    code = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()


class AnsweredOut(Out):
    """What became of one of several: no refusal says that the approval was counted."""

    request = serializers.CharField(source="request.public_id")
    revision = serializers.IntegerField(source="request.revision")
    status = serializers.ChoiceField(RequestStatus.choices, source="request.state")
    refusal = RefusalOut(allow_null=True)


class ApprovedTogetherOut(Out):
    """What became of each; one that was refused stopped no other."""

    answered = AnsweredOut(many=True)


class AccessRequestCommentIn(In):
    """A question, an answer, or with a tier the offer of that instead."""

    text = Text(max_length=MAX_TEXT_CHARACTERS)
    offered_tier = WholeNumber(min_value=1, max_value=HIGHEST_TIER, required=False, allow_null=True)


class BudgetRequestOut(RequestOut):
    """A request at its current revision. `deciders` are the people who may decide it now."""

    budget = serializers.CharField(source="budget.public_id")
    place = serializers.CharField(source="place_name")
    limit_usd = Usd(help_text="What the limit shall be, top-ups included.")
    until = Moment(allow_null=True, help_text="When it falls back; null is for good.")
    role = serializers.ChoiceField(Role.choices, help_text="Whose decision it is.")
    decided_by = NamedOut(allow_null=True)
    on_behalf_of = NamedOut(allow_null=True)
    given_usd = Usd(
        source="limit.amount_usd",
        allow_null=True,
        help_text="The limit that an approval set, or with an end what it added until then.",
    )
    given_until = Moment(source="limit.valid_until", allow_null=True)
    comment = serializers.CharField()
    comments = serializers.SerializerMethodField()
    deciders = serializers.SerializerMethodField()
    may_decide = serializers.SerializerMethodField()

    @extend_schema_field(CommentOut(many=True))
    def get_comments(self, request: BudgetRequest) -> list[dict[str, Any]]:
        """What was said about it, the oldest first."""
        return list(CommentOut(remarks(request.said), many=True).data)

    def get_deciders(self, request: BudgetRequest) -> list[str]:
        """Names of the people who may decide it now; a delegate with the person he stands for."""
        if request.state is not RequestStatus.PENDING:
            return []
        return list(names_of_owners(request, self.context["holders"]))

    def get_may_decide(self, request: BudgetRequest) -> bool:
        """Whether the signed-in person is one of them."""
        is_open = request.state is RequestStatus.PENDING
        return is_open and self.context["user_id"] in deciders_of(request, self.context["holders"])


class BudgetRequestQuery(PageQuery):
    """Which requests to list."""

    status = serializers.ChoiceField(RequestStatus.choices, required=False)
    budget = PublicId("bdg", required=False)


class BudgetRequestWishIn(In):
    """What is asked for: a limit, until when, and why."""

    limit_usd = Usd(help_text="The whole limit, not the difference.")
    until = Moment(required=False, allow_null=True, help_text="When it falls back; null is for good.")
    reason = Text(max_length=MAX_TEXT_CHARACTERS)


class BudgetRequestCreateIn(BudgetRequestWishIn):
    """More of a budget that the person may see."""

    budget = PublicId("bdg")


class BudgetRequestAmendIn(BudgetRequestWishIn):
    """What is asked for instead."""

    seen_revision = WholeNumber(min_value=1, max_value=MAX_REVISION)


class BudgetRequestCommentIn(In):
    """A question, or an answer."""

    text = Text(max_length=MAX_TEXT_CHARACTERS)


class BudgetRequestDecideIn(In):
    """A verdict on the revision that was read. An approval may give less than was asked for."""

    verdict = serializers.ChoiceField(Verdict.choices)
    seen_revision = WholeNumber(
        min_value=1, max_value=MAX_REVISION, required=False, help_text="Or send it as If-Match."
    )
    comment = Text(max_length=MAX_TEXT_CHARACTERS, default="", help_text="A denial needs one.")
    limit_usd = Usd(required=False, allow_null=True)
    until = Moment(required=False, allow_null=True)
