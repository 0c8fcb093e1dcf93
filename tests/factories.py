"""Makes rows for tests. Whatever is not said gets a value that is valid and unlike every other.

Where a guard of the database wants a story behind a row (a grant an approved request), the factory tells it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import factory
from django.db import transaction
from factory.django import DjangoModelFactory

from approvals.models import AccessRequest, Decision, Delegation, Policy, RequestStatus, Stage, Verdict
from budgets.models import (
    AlertKind,
    Budget,
    BudgetAlert,
    BudgetLimit,
    Entry,
    EntryKind,
    Mode,
    ScopeKind,
    Window,
)
from catalog.models import Alias, LlmModel, Price, PriceSource, Provider, Tier, Unit, UnpricedCall
from core import clock
from core.ids import new_id
from core.models import Outbox, OutboxKind, Webhook
from gateway.models import Gateway
from keys import secrets
from keys.models import ApiKey, ApiToken, Grant
from teams.models import Department, Membership, Project, Role, RoleAssignment, Team, User
from usage.models import Invoice, ProviderAccount, SpendWarning, UpstreamCredential

LONG_AGO = timedelta(days=400)
TIER_NAMES = {1: "Everyday", 2: "Project", 3: "Experimental"}
# What a new installation starts with: the role that decides a tier, and for how many days.
POLICY_TERMS = {2: ("lead", 90), 3: ("director", 30)}
ESCALATION = {2: "director", 3: "admin"}


def long_ago() -> datetime:
    """Return a moment before everything that a test does."""
    return clock.now() - LONG_AGO


class UserFactory(DjangoModelFactory[User]):
    """A person without a role."""

    class Meta:
        model = User

    name = factory.Sequence(lambda number: f"Person {number}")
    email = factory.LazyAttribute(lambda user: f"{user.name.lower().replace(' ', '.')}@example.com")


class WebhookFactory(DjangoModelFactory[Webhook]):
    """A webhook that is told of everything."""

    class Meta:
        model = Webhook

    url = "https://hooks.example.com/purser"
    description = factory.Sequence(lambda number: f"Hook {number}")
    live_versions = [1]
    created_at = factory.LazyFunction(clock.now)


class GivenUpFactory(DjangoModelFactory[Outbox]):
    """A mail that no mailbox took."""

    class Meta:
        model = Outbox

    kind = OutboxKind.MAIL
    topic = "request.approved"
    dedupe_key = factory.Sequence(lambda number: f"given up {number}")
    recipient = "nobody@example.com"
    payload = factory.LazyFunction(lambda: {"subject": "Approved", "body": "A text.", "link": "/keys/"})
    created_at = factory.LazyFunction(clock.now)
    next_attempt_at = factory.LazyFunction(clock.now)
    attempts = 1
    dead_at = factory.LazyFunction(clock.now)
    last_error = "550 no such mailbox"


class ProviderAccountFactory(DjangoModelFactory[ProviderAccount]):
    """An account at OpenAI without a credential."""

    class Meta:
        model = ProviderAccount

    provider = Provider.OPENAI
    name = factory.Sequence(lambda number: f"org-{number}")


class UpstreamCredentialFactory(DjangoModelFactory[UpstreamCredential]):
    """A registered key of an account of its own."""

    class Meta:
        model = UpstreamCredential

    account = factory.SubFactory(ProviderAccountFactory)
    external_id = factory.Sequence(lambda number: f"key_{number}")
    label = factory.Sequence(lambda number: f"Key {number}")


class InvoiceFactory(DjangoModelFactory[Invoice]):
    """A bill of October 2026 with one line of $100, of an account of its own."""

    class Meta:
        model = Invoice
        skip_postgeneration_save = True

    account = factory.SubFactory(ProviderAccountFactory)
    number = factory.Sequence(lambda number: f"INV-1-{number}")
    period_start = date(2026, 10, 1)
    period_end = date(2026, 11, 1)
    total_usd = Decimal(100)
    document_hash = factory.Sequence(lambda number: f"{number:064d}")

    @factory.post_generation
    def line(self: Invoice, create: bool, extracted: Any, **_: Any) -> None:
        """Write the line."""
        if create:
            self.lines.create(description="Usage", amount_usd=self.total_usd)


class DepartmentFactory(DjangoModelFactory[Department]):
    """A department without people."""

    class Meta:
        model = Department

    code = factory.Sequence(lambda number: f"department-{number}")
    name = factory.LazyAttribute(lambda department: department.code.capitalize())


class TeamFactory(DjangoModelFactory[Team]):
    """A team without people, in a department of its own."""

    class Meta:
        model = Team

    code = factory.Sequence(lambda number: f"team-{number}")
    name = factory.LazyAttribute(lambda team: team.code.capitalize())
    department = factory.SubFactory(DepartmentFactory)


class ProjectFactory(DjangoModelFactory[Project]):
    """An open project of a team of its own."""

    class Meta:
        model = Project

    code = factory.Sequence(lambda number: f"project-{number}")
    name = factory.LazyAttribute(lambda project: project.code.capitalize())
    team = factory.SubFactory(TeamFactory)
    owner = factory.SubFactory(UserFactory)
    cost_centre = factory.Sequence(lambda number: f"CC-{number}")


class MembershipFactory(DjangoModelFactory[Membership]):
    """A person's time in a team, since long ago."""

    class Meta:
        model = Membership

    user = factory.SubFactory(UserFactory)
    team = factory.SubFactory(TeamFactory)
    valid_from = factory.LazyFunction(long_ago)


class RoleAssignmentFactory(DjangoModelFactory[RoleAssignment]):
    """A role held since long ago; give `team` for a lead, `department` for a director."""

    class Meta:
        model = RoleAssignment

    user = factory.SubFactory(UserFactory)
    role = Role.ADMIN
    valid_from = factory.LazyFunction(long_ago)


class TierFactory(DjangoModelFactory[Tier]):
    """A tier by its number, made when a new installation has lost it."""

    class Meta:
        model = Tier
        django_get_or_create = ("number",)

    number = 1
    name = factory.LazyAttribute(lambda tier: TIER_NAMES.get(tier.number, f"Tier {tier.number}"))
    description = factory.LazyAttribute(lambda tier: f"What {tier.name} is for.")


class LlmModelFactory(DjangoModelFactory[LlmModel]):
    """A chat model of Tier 1 without a price."""

    class Meta:
        model = LlmModel

    name = factory.Sequence(lambda number: f"model-{number}")
    provider = Provider.OPENAI
    provider_model = factory.SelfAttribute("name")
    tier = factory.SubFactory(TierFactory)
    context_window_tokens = 128_000
    max_output_tokens = 16_000


class AliasFactory(DjangoModelFactory[Alias]):
    """Another name of a model."""

    class Meta:
        model = Alias

    name = factory.Sequence(lambda number: f"alias-{number}")
    model = factory.SubFactory(LlmModelFactory)


class PriceFactory(DjangoModelFactory[Price]):
    """A price in force since long ago."""

    class Meta:
        model = Price

    model = factory.SubFactory(LlmModelFactory)
    unit = Unit.INPUT
    usd_per_unit = Decimal("0.000001")
    valid_from = factory.LazyFunction(long_ago)
    source = PriceSource.MANUAL
    source_version = "test"


class UnpricedCallFactory(DjangoModelFactory[UnpricedCall]):
    """Refused calls of a model without a price, as the decision counts them."""

    class Meta:
        model = UnpricedCall

    model = factory.SubFactory(LlmModelFactory)
    calls = 1
    first_at = factory.LazyFunction(long_ago)
    last_at = factory.LazyFunction(clock.now)


class ApiKeyFactory(DjangoModelFactory[ApiKey]):
    """A key awaiting reveal, good for 180 days."""

    class Meta:
        model = ApiKey

    name = factory.Sequence(lambda number: f"key {number}")
    project = factory.SubFactory(ProjectFactory)
    owner = factory.SubFactory(UserFactory)
    created_at = factory.LazyFunction(clock.now)
    expires_at = factory.LazyAttribute(lambda key: key.created_at + timedelta(days=180))


class ApiTokenFactory(DjangoModelFactory[ApiToken]):
    """A token of the API awaiting reveal, good for reading keys for 90 days."""

    class Meta:
        model = ApiToken

    name = factory.Sequence(lambda number: f"token {number}")
    owner = factory.SubFactory(UserFactory)
    scopes = factory.LazyFunction(lambda: ["keys:read"])
    created_at = factory.LazyFunction(clock.now)
    expires_at = factory.LazyAttribute(lambda token: token.created_at + timedelta(days=90))


class BudgetFactory(DjangoModelFactory[Budget]):
    """A hard monthly budget of a project; set its limit with BudgetLimitFactory."""

    class Meta:
        model = Budget
        exclude = ("project",)

    project = factory.SubFactory(ProjectFactory)
    scope_kind = ScopeKind.PROJECT
    scope_id = factory.SelfAttribute("project.pk")
    department = factory.SelfAttribute("project.team.department")
    window = Window.MONTH
    mode = Mode.HARD


class BudgetLimitFactory(DjangoModelFactory[BudgetLimit]):
    """A limit of 100 US dollars in force since a second ago."""

    class Meta:
        model = BudgetLimit

    budget = factory.SubFactory(BudgetFactory)
    amount_usd = Decimal(100)
    valid_from = factory.LazyFunction(lambda: clock.now() - timedelta(seconds=1))
    reason = "A test."


class BudgetAlertFactory(DjangoModelFactory[BudgetAlert]):
    """80 % of a limit of 100 US dollars, passed a second ago in a month of 30 days."""

    class Meta:
        model = BudgetAlert

    budget = factory.SubFactory(BudgetFactory)
    window_start = factory.LazyFunction(lambda: clock.now() - timedelta(days=10))
    window_end = factory.LazyAttribute(lambda alert: alert.window_start + timedelta(days=30))
    kind = AlertKind.SPENT
    percent = 80
    limit_since = factory.SelfAttribute("window_start")
    limit_usd = Decimal(100)
    spent_usd = Decimal(84)
    held_usd = Decimal(0)
    is_told = True
    passed_at = factory.LazyFunction(lambda: clock.now() - timedelta(seconds=1))


class SpendWarningFactory(DjangoModelFactory[SpendWarning]):
    """A project that spends 8 US dollars an hour where 1 is usual, since ten hours ago."""

    class Meta:
        model = SpendWarning

    project = factory.SubFactory(ProjectFactory)
    warned_at = factory.LazyFunction(lambda: clock.now() - timedelta(seconds=1))
    since = factory.LazyAttribute(lambda warning: warning.warned_at - timedelta(hours=10))
    day = factory.LazyAttribute(lambda warning: warning.warned_at.date())
    spent_usd = Decimal(80)
    usual_usd = Decimal(10)


class PolicyFactory(DjangoModelFactory[Policy]):
    """The policy in force of a tier, made when a new installation has lost it."""

    class Meta:
        model = Policy
        django_get_or_create = ("tier", "version")

    tier = factory.SubFactory(TierFactory, number=2)
    version = 1
    stages = factory.LazyAttribute(
        lambda policy: [{"role": POLICY_TERMS[policy.tier.number][0], "quorum": 1}]
    )
    default_days = factory.LazyAttribute(lambda policy: POLICY_TERMS[policy.tier.number][1])
    max_days = factory.SelfAttribute("default_days")
    escalation_role = factory.LazyAttribute(lambda policy: ESCALATION.get(policy.tier.number, ""))


class AccessRequestFactory(DjangoModelFactory[AccessRequest]):
    """A pending request for Tier 2 with the stages of its policy."""

    class Meta:
        model = AccessRequest

    requester = factory.SubFactory(UserFactory)
    beneficiary = factory.SelfAttribute("requester")
    project = factory.SubFactory(ProjectFactory)
    team = factory.SelfAttribute("project.team")
    tier = factory.SubFactory(TierFactory, number=2)
    policy = factory.LazyAttribute(lambda request: policy_of(request.tier))
    reason = "The small models miss one answer in three."
    duration_days = 30
    expected_monthly_usd = Decimal(400)
    created_at = factory.LazyFunction(clock.now)
    revised_at = factory.SelfAttribute("created_at")
    stage_began_at = factory.SelfAttribute("created_at")
    decide_by = factory.LazyAttribute(lambda request: request.created_at + timedelta(days=7))

    @classmethod
    def _create(
        cls, model_class: type[AccessRequest], *, stages: Sequence[tuple[str, int]] = (), **fields: Any
    ) -> AccessRequest:
        """Pin `stages` (pairs of role and quorum), or those of the policy."""
        made: AccessRequest = super()._create(model_class, **fields)
        pairs = stages or [(stage["role"], stage["quorum"]) for stage in made.policy.stages]
        for index, (role, quorum) in enumerate(pairs):
            terms = {"role": role, "quorum": quorum, "max_days": made.policy.max_days}
            Stage.objects.create(request=made, revision=1, index=index, **terms)
        return made


class DelegationFactory(DjangoModelFactory[Delegation]):
    """A lead's role lent for a week; the giver holds it already."""

    class Meta:
        model = Delegation

    giver = factory.SubFactory(UserFactory)
    taker = factory.SubFactory(UserFactory)
    role = Role.LEAD
    valid_from = factory.LazyAttribute(lambda lent: lent.created_at - timedelta(minutes=1))
    valid_until = factory.LazyAttribute(lambda lent: lent.created_at + timedelta(days=6))
    created_at = factory.LazyFunction(clock.now)


class GatewayFactory(DjangoModelFactory[Gateway]):
    """A gateway that may ask for decisions."""

    class Meta:
        model = Gateway

    name = factory.Sequence(lambda number: f"gateway-{number}")
    live_versions = [1]


def tier(number: int) -> Tier:
    """Return a tier, made when a new installation has lost it."""
    return TierFactory.create(number=number)


def policy_of(for_tier: Tier) -> Policy:
    """Return the policy in force of a tier."""
    in_force = Policy.objects.filter(tier=for_tier, retired_at__isnull=True).first()
    return in_force or PolicyFactory.create(tier=for_tier)


def new_policy(for_tier: Tier, stages: Sequence[tuple[str, int]], **terms: Any) -> Policy:
    """Retire the policy in force of a tier and put another one in force."""
    before = policy_of(for_tier)
    Policy.objects.filter(pk=before.pk).update(retired_at=clock.now())
    return PolicyFactory.create(
        tier=for_tier,
        version=before.version + 1,
        stages=[{"role": role, "quorum": quorum} for role, quorum in stages],
        **{"default_days": 30, "max_days": 90, **terms},
    )


def priced_model(name: str, *, tier_number: int, input_usd: str, output_usd: str) -> LlmModel:
    """Make a chat model with prices for a million tokens in and out."""
    made = LlmModelFactory.create(name=name, tier=tier(tier_number))
    for unit, price in ((Unit.INPUT, input_usd), (Unit.OUTPUT, output_usd)):
        PriceFactory.create(model=made, unit=unit, usd_per_unit=Decimal(price) / 1_000_000)
    return made


def revealed(key: ApiKey) -> str:
    """Give a key its secret, as the reveal does, and return it."""
    token = secrets.new_token()
    key.pepper_id, key.secret_hmac = secrets.sign(token)
    key.prefix, key.last4, key.revealed_at = token[:13], token[-4:], clock.now()
    key.save()
    return token


def settled_entry(*, at: datetime, amount_usd: Decimal, **whose: Any) -> Entry:
    """Charge a call without a reservation, on no budget, as imported history is charged."""
    return Entry.objects.create(
        public_id=new_id("ent"), kind=EntryKind.SETTLE, amount_usd=amount_usd, budget_ids=[],
        window_starts=[], effective_at=at, recorded_at=at, **whose,
    )  # fmt: skip


@transaction.atomic
def approved_grant(
    key: ApiKey,
    *,
    tier_number: int = 2,
    model_ids: Sequence[int] = (),
    monthly_cap_usd: Decimal = Decimal(1000),
    starts_at: datetime | None = None,
    expires_at: datetime | None = None,
    **fields: Any,
) -> Grant:
    """Give a key a grant with the approved request behind it, without the services: for 30 days from now."""
    starts = starts_at or clock.now()
    ends = expires_at or starts + timedelta(days=30)
    approver = fields.pop("granted_by", None) or UserFactory.create()
    request = AccessRequestFactory.create(
        requester=key.owner,
        project=key.project,
        tier=tier(tier_number),
        policy=policy_of(tier(tier_number)),
        model_ids=list(model_ids),
        duration_days=math.ceil((ends - starts) / timedelta(days=1)),
        expected_monthly_usd=monthly_cap_usd,
        created_at=starts - timedelta(minutes=2),
        decide_by=max(starts, clock.now()) + timedelta(days=7),
    )
    approve(request, approver, key=key, at=starts - timedelta(minutes=1))
    return Grant.objects.create(
        key=key,
        tier=request.tier,
        model_ids=list(model_ids),
        monthly_cap_usd=monthly_cap_usd,
        starts_at=starts,
        expires_at=ends,
        source_request=request.public_id,
        granted_by=approver,
        **fields,
    )


def approve(request: AccessRequest, approver: User, *, key: ApiKey, at: datetime | None = None) -> Decision:
    """Approve a one-stage request by rows alone; the grant must follow in the same transaction."""
    decision = Decision.objects.create(
        request=request,
        revision=request.revision,
        stage_index=request.stage_index,
        actor=approver,
        verdict=Verdict.APPROVE,
        at=at or clock.now(),
    )
    request.status, request.decided_at, request.key = RequestStatus.APPROVED, decision.at, key
    request.save()
    return decision
