"""One of everything that the API shows, in the cast's organisation: Ada's project Ranking of team Search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from rest_framework.test import APIClient

from approvals.models import AccessRequest
from budgets.models import Budget, BudgetAlert, Mode, RateLimit, ScopeKind, Window
from budgets.services import limits
from core import audit, clock
from core.models import AuditEvent, Outbox, Webhook
from gateway.models import Gateway
from keys.models import ApiKey, Grant
from teams.models import User
from tests import factories
from tests.cast import Cast
from tests.signing import sign_in
from tests.usage.books import book, refuse, set_aside
from usage.models import (
    Discrepancy,
    ImportCursor,
    Invoice,
    PeriodClose,
    Quarantine,
    ReconciliationRun,
    RunState,
    SpendWarning,
    UpstreamCredential,
)
from usage.selectors import organisation_today

if TYPE_CHECKING:
    from rest_framework.response import _MonkeyPatchedResponse

    Answer = _MonkeyPatchedResponse
else:
    Answer = HttpResponse  # with what the test client adds

GATEWAY = "gw_test"
PREFIX = "/api/v1/"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The cast, and what belongs to Ada and her team."""

    cast: Cast
    key: ApiKey
    fresh_key: ApiKey
    grant: Grant
    request: AccessRequest
    budget: Budget
    key_budget: Budget
    rate_limit: RateLimit
    run: ReconciliationRun
    discrepancy: Discrepancy
    upstream_key: UpstreamCredential
    invoice: Invoice
    quarantined: Quarantine
    period: PeriodClose
    event: AuditEvent
    gateway: Gateway
    webhook: Webhook
    message: Outbox
    alert: BudgetAlert
    warning: SpendWarning


class Caller:
    """Somebody who calls the API, as a program does: JSON in, JSON out."""

    def __init__(self, user: User | None) -> None:
        self.client = APIClient()
        if user is not None:
            sign_in(self.client, user)

    def get(self, path: str, **query: object) -> Answer:
        """Read `path`, below /api/v1/ unless it starts with a slash."""
        return self.client.get(_address(path), {name: str(value) for name, value in query.items()})

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Write to `path`, without a body when there is none."""
        options: dict[str, Any] = {} if body is None else {"data": body, "format": "json"}
        return self.client.post(_address(path), headers=dict(headers or {}), **options)


def _address(path: str) -> str:
    return path if path.startswith(("/", "http")) else PREFIX + path


def make_world(cast: Cast) -> World:
    """Make one of everything."""
    key = factories.ApiKeyFactory.create(name="prod", project=cast.ranking, owner=cast.ada)
    factories.revealed(key)
    grant = factories.approved_grant(key, tier_number=2, model_ids=[cast.large.pk], granted_by=cast.ben)
    run = make_run(organisation_today() - timedelta(days=1))
    ImportCursor.objects.create(source=run.source)
    upstream_key = factories.UpstreamCredentialFactory.create()
    book(cast.ranking, cast.large, organisation_today(), "12.5", owner=cast.ada, key=key)
    refuse(cast.ranking, clock.now(), "budget_exhausted", 7, key=key)
    budget = open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500")
    return World(
        cast=cast,
        key=key,
        fresh_key=factories.ApiKeyFactory.create(name="new", project=cast.ranking, owner=cast.ada),
        grant=grant,
        request=factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking),
        budget=budget,
        key_budget=open_budget(cast, ScopeKind.KEY, key.pk, "50"),
        rate_limit=RateLimit.objects.create(
            scope_kind=ScopeKind.PROJECT, scope_id=cast.ranking.pk, requests_per_minute=600
        ),
        run=run,
        upstream_key=upstream_key,
        invoice=factories.InvoiceFactory.create(account=upstream_key.account),
        discrepancy=Discrepancy.objects.create(
            run=run,
            kind="token_mismatch",
            external_id="rsv_one",
            detail={"portal": {"input": 10, "output": 2}, "gateway": {"input": 12, "output": 2}},
            amount_usd=Decimal("0.25"),
            opened_at=clock.now(),
        ),
        quarantined=set_aside(run.source),
        period=PeriodClose.objects.create(month=run.day.replace(day=1)),
        event=audit.record(
            actor=cast.ada,
            action="project.described",
            subject=cast.ranking,
            team_id=cast.search.pk,
            department_id=cast.product.pk,
            reason="It says more.",
        ),
        gateway=factories.GatewayFactory.create(),
        webhook=factories.WebhookFactory.create(actions=["nothing."]),
        message=factories.GivenUpFactory.create(recipient=cast.ada.email),
        alert=factories.BudgetAlertFactory.create(budget=budget),
        warning=factories.SpendWarningFactory.create(project=cast.ranking),
    )


def open_budget(cast: Cast, kind: ScopeKind, scope_id: int, amount: str, **terms: Any) -> Budget:
    """Open a hard monthly budget in department Product, unless said otherwise."""
    usual: dict[str, Any] = {"department": cast.product, "window": Window.MONTH, "mode": Mode.HARD}
    return limits.open_budget(
        actor=None,
        scope_kind=kind,
        scope_id=scope_id,
        amount_usd=Decimal(amount),
        reason="A test.",
        **usual | terms,
    )


def make_run(day: date, source: str = GATEWAY) -> ReconciliationRun:
    """Make the reconciliation of one day."""
    now = clock.now()
    return ReconciliationRun.objects.create(
        day=day, source=source, state=RunState.DIFFERENT, first_run_at=now, last_run_at=now
    )
