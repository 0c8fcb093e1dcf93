"""Does what the portal does, in the database of its process: whatever right its role lacks ends it.

Run it with `manage.py shell -c "from tests.portal.app_story import tell; tell()"`.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import setup_test_environment

from approvals.models import AccessRequest, Verdict
from approvals.services import decide, submit, withdraw
from approvals.services.expiring import expire_due
from budgets.models import Reservation, ScopeKind, Window
from budgets.services.limits import change_limit
from core import clock
from gateway.models import GatewayKind
from gateway.services import register_gateway, rotate_gateway_secret
from keys.services import issue_key, reveal, revoke
from portal.tasks import drain_outbox, seal_audit, verify_audit, verify_ledger
from tests import factories
from tests.gateway.conftest import World, build_world
from tests.gateway.test_pull import Journal, row
from tests.signing import open_session
from usage.services import expire_holds, make_partitions, pull_source, reconcile_day


def tell() -> None:
    """Go through the whole story."""
    setup_test_environment()
    world = build_world()
    reservation = _calls(world)
    _journal(world, reservation)
    _people(world)
    _upkeep()


def _calls(world: World) -> str:
    """Let calls end in every way and return the reservation of a settled one."""

    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.budget("team", kind=ScopeKind.TEAM, limit="50", window=Window.MONTH)
    ids = [answer.json()["reservation"] for answer in (world.gus.authorize(world.token) for _ in range(5))]
    assert world.gus.authorize("psr_live_nobody").status_code == 401
    assert world.gus.authorize(world.token, model="large").status_code == 403
    old = clock.now() - timedelta(hours=2)
    Reservation.objects.filter(public_id__in=ids[3:]).update(
        authorized_at=old, expires_at=old + timedelta(minutes=1)
    )
    assert world.gus.settle(ids[0]).json()["status"] == "settled"
    assert world.gus.settle(ids[0], output_tokens=51).status_code == 409
    assert world.gus.release(ids[1]).status_code == 200
    assert expire_holds() == 2
    assert world.gus.settle(ids[3]).json()["status"] == "late"
    settled: str = ids[0]
    return settled


def _journal(world: World, reservation: str) -> None:

    journal = Journal(world.gus.gateway.public_id, [row(reservation), row("rsv_unknown"), {"id": "broken"}])
    assert pull_source(source=journal).read == 3
    reconcile_day(source=journal.name, day=clock.now().date())


def _people(world: World) -> None:
    """Let people ask, approve, reveal, limit, revoke and look."""

    ben, ann = (factories.UserFactory.create(name=name) for name in ("Ben", "Ann"))
    factories.MembershipFactory.create(user=world.ada, team=world.team)
    factories.RoleAssignmentFactory.create(user=ben, role="lead", team=world.team)
    factories.RoleAssignmentFactory.create(user=ann, role="admin")
    wish: dict[str, Any] = {
        "actor": world.ada, "project": world.project, "tier": factories.tier(2), "model_names": ["large"],
        "reason": "The small models miss one answer in three.", "duration_days": 30,
        "expected_monthly_usd": Decimal(40),
    }  # fmt: skip
    factories.policy_of(wish["tier"])
    withdraw(request=submit(**wish), actor=world.ada)
    asked = submit(**wish)
    decide(request=asked, actor=ben, verdict=Verdict.APPROVE, seen_revision=1)
    key = AccessRequest.objects.get(pk=asked.pk).key
    assert key is not None
    reveal(actor=world.ada, key=key)
    revoke(actor=ben, key=key, reason="A test.")
    revoke(actor=world.ada, key=issue_key(actor=world.ada, project=world.project, name="x"), reason="A test.")
    change_limit(actor=ann, budget=world.budgets["key"], amount_usd=Decimal(6), reason="A test.")
    gateway = register_gateway(actor=ann, name="other", kind=GatewayKind.LITELLM, base_url="")
    rotate_gateway_secret(actor=ann, gateway=gateway)
    expire_due()
    client = Client()
    open_session(client, ann)
    assert client.get("/api/v1/budgets/").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.post("/accounts/logout/").status_code == 302


def _upkeep() -> None:

    assert verify_ledger() == {}
    assert seal_audit() > 0
    assert verify_audit() == 0
    drain_outbox()
    make_partitions()
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_make_partitions('2031-01-01', '2031-02-01')")
        assert cursor.fetchone()[0] == 4
