"""Organisations to measure on, written in bulk: teams with projects and keys. The path of each key is the one
that the targets speak of: key, project and team with a hard day and month budget each, one rate limit, one
active grant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cached_property

from django.db import connection, transaction

from approvals.models import AccessRequest, Decision, Policy, RequestStatus, Stage, Verdict
from bench import load
from budgets.models import Budget, BudgetLimit, Mode, RateLimit, ScopeKind, Window
from catalog.models import LlmModel, Price, PriceSource, Provider, Tier, Unit
from core import clock
from gateway.auth import secret_for
from gateway.models import Gateway
from keys import secrets
from keys.models import ApiKey, Grant, PlannedActivity
from teams.models import Department, Project, Team, User
from tests import factories

TIER = 2
AMPLE_USD = Decimal(100_000_000)
AMPLE_CALLS_A_MINUTE = 1_000_000_000
WINDOWS = (Window.DAY, Window.MONTH)
DAYS = 30
INPUT_USD, OUTPUT_USD = Decimal("0.000010"), Decimal("0.000040")
INPUT_BYTES = 1_000  # of every call that a load makes


def call_usd(output_tokens: int) -> Decimal:
    """Return what a call of INPUT_BYTES holds when it may write so many tokens."""
    return INPUT_BYTES * INPUT_USD + output_tokens * OUTPUT_USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Teams that were made together, and the secrets of their keys in the order of `keys`."""

    teams: Sequence[Team]
    projects: Sequence[Project]
    keys: Sequence[ApiKey]
    tokens: tuple[str, ...]
    budgets: Sequence[Budget]


class World:
    """One organisation with one gateway and one model of a tier that needs a grant."""

    def __init__(self) -> None:
        self.department = Department.objects.create(code="bench", name="Bench")
        self.approver = User.objects.create_user("approver@example.com", name="Approver")
        self.gateway = Gateway.objects.create(name="bench", live_versions=[1])
        self.tier: Tier = factories.tier(TIER)
        self.model = LlmModel.objects.create(
            name="large",
            provider=Provider.OPENAI,
            provider_model="large",
            tier=self.tier,
            context_window_tokens=100_000,
            max_output_tokens=8_000,
        )
        for unit, usd in ((Unit.INPUT, INPUT_USD), (Unit.OUTPUT, OUTPUT_USD)):
            Price.objects.create(
                model=self.model,
                unit=unit,
                usd_per_unit=usd,
                valid_from=clock.now() - timedelta(days=400),
                source=PriceSource.MANUAL,
                source_version="bench",
            )

    def load_gateway(self, tokens: Sequence[str]) -> load.Gateway:
        """Return what a load signs with, and the keys that it asks about."""
        return load.Gateway(
            public_id=self.gateway.public_id, secret=secret_for(self.gateway, 1), keys=tuple(tokens)
        )

    @transaction.atomic
    def add(self, name: str, *, teams: int, projects: int, keys: int, limit: Decimal = AMPLE_USD) -> Group:
        """Add `teams` teams with `projects` projects each and `keys` keys in each project."""
        made_teams = Team.objects.bulk_create(
            Team(code=f"{name}-{number}", name=f"{name} {number}", department=self.department)
            for number in range(teams)
        )
        # A person asks for a tier once in a project, so each key of a project has an owner of its own.
        owners = User.objects.bulk_create(
            User(email=f"{name}-{number}@example.com", name=f"{name} {number}", password="!")  # noqa: S106
            for number in range(keys)
        )
        made_projects = Project.objects.bulk_create(
            Project(
                code=f"{team.code}-{number}",
                name=f"{team.name} {number}",
                team=team,
                owner=owners[0],
                cost_centre="CC-1",
            )
            for team in made_teams
            for number in range(projects)
        )
        made_keys, tokens = self._keys(made_projects, owners)
        scopes = [(ScopeKind.TEAM, one.pk) for one in made_teams]
        scopes += [(ScopeKind.PROJECT, one.pk) for one in made_projects]
        scopes += [(ScopeKind.KEY, one.pk) for one in made_keys]
        budgets = self._budgets(scopes, limit)
        RateLimit.objects.bulk_create(
            RateLimit(scope_kind=ScopeKind.KEY, scope_id=key.pk, requests_per_minute=AMPLE_CALLS_A_MINUTE)
            for key in made_keys
        )
        self._grants(made_keys)
        return Group(teams=made_teams, projects=made_projects, keys=made_keys, tokens=tokens, budgets=budgets)

    def _keys(
        self, projects: Sequence[Project], owners: Sequence[User]
    ) -> tuple[list[ApiKey], tuple[str, ...]]:
        moment = clock.now()
        keys, tokens = [], []
        for project in projects:
            for owner in owners:
                token = secrets.new_token()
                pepper_id, digest = secrets.sign(token)
                tokens.append(token)
                keys.append(
                    ApiKey(
                        name=f"{owner.name} {project.code}",
                        project=project,
                        owner=owner,
                        secret_hmac=digest,
                        pepper_id=pepper_id,
                        prefix=token[:13],
                        last4=token[-4:],
                        created_at=moment,
                        revealed_at=moment,
                        expires_at=moment + timedelta(days=2 * DAYS),
                    )
                )
        made = ApiKey.objects.bulk_create(keys, batch_size=5_000)
        PlannedActivity.objects.bulk_create(
            (
                PlannedActivity(
                    key=key,
                    starts_at=moment,
                    ends_at=key.expires_at,
                    most_usd_an_hour=AMPLE_USD,
                    reason="a measurement",
                    planned_by=key.owner,
                )
                for key in made
            ),
            batch_size=5_000,
        )
        return made, tuple(tokens)

    def _budgets(self, scopes: Sequence[tuple[ScopeKind, int]], limit: Decimal) -> list[Budget]:
        budgets = Budget.objects.bulk_create(
            (
                Budget(
                    scope_kind=kind,
                    scope_id=scope_id,
                    department=self.department,
                    window=window,
                    mode=Mode.HARD,
                )
                for kind, scope_id in scopes
                for window in WINDOWS
            ),
            batch_size=5_000,
        )
        since = clock.now() - timedelta(seconds=1)
        BudgetLimit.objects.bulk_create(
            (
                BudgetLimit(budget=budget, amount_usd=limit, valid_from=since, reason="a measurement")
                for budget in budgets
            ),
            batch_size=5_000,
        )
        return budgets

    def _grants(self, keys: Sequence[ApiKey]) -> None:
        """Approve a request for each key, because the database takes no grant without one."""
        asked_at = clock.now()
        requests = AccessRequest.objects.bulk_create(
            (
                AccessRequest(
                    requester=key.owner,
                    beneficiary=key.owner,
                    project=key.project,
                    tier=self.tier,
                    policy=self._policy,
                    reason="a measurement",
                    duration_days=DAYS,
                    expected_monthly_usd=AMPLE_USD,
                    created_at=asked_at,
                    decide_by=asked_at + timedelta(days=7),
                )
                for key in keys
            ),
            batch_size=5_000,
        )
        Stage.objects.bulk_create(
            Stage(request=one, revision=1, index=0, role="lead", quorum=1, max_days=self._policy.max_days)
            for one in requests
        )
        decided_at = clock.now()
        Decision.objects.bulk_create(
            Decision(
                request=one,
                revision=1,
                stage_index=0,
                actor=self.approver,
                verdict=Verdict.APPROVE,
                at=decided_at,
            )
            for one in requests
        )
        for request, key in zip(requests, keys, strict=True):
            request.status, request.decided_at, request.key = RequestStatus.APPROVED, decided_at, key
        AccessRequest.objects.bulk_update(requests, ["status", "decided_at", "key"], batch_size=500)
        Grant.objects.bulk_create(
            (
                Grant(
                    key=key,
                    tier=self.tier,
                    monthly_cap_usd=AMPLE_USD,
                    starts_at=decided_at,
                    expires_at=decided_at + timedelta(days=DAYS),
                    source_request=request.public_id,
                    granted_by=self.approver,
                )
                for request, key in zip(requests, keys, strict=True)
            ),
            batch_size=5_000,
        )

    @cached_property
    def _policy(self) -> Policy:
        return factories.policy_of(self.tier)


def vacuum() -> None:
    """Leave the database as a quiet night does: no dead rows, fresh statistics."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
