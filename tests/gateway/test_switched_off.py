"""A gateway that is switched off: it is refused, lends nothing, is not read, and comes back as it was."""

from __future__ import annotations

import pytest

from budgets.models import Lease
from core.errors import AlreadyDoneError, InvalidInputError
from core.models import AuditEvent
from gateway import tasks, views
from gateway.hot.credentials import KEEP_SECONDS, CredentialCache
from gateway.models import Gateway, GatewayKind, LogKind
from gateway.services import disable_gateway, enable_gateway, register_gateway, register_log
from teams.errors import RoleNeededError
from teams.models import User
from tests.factories import RoleAssignmentFactory, UserFactory
from tests.gateway.conftest import World
from usage.models import ImportCursor

WHY = "Its host was broken into."
JOURNAL = "http://127.0.0.1:1"


@pytest.fixture
def admin(world: World) -> User:
    return RoleAssignmentFactory.create(user=UserFactory.create(), role="admin", team=None).user


def switched(world: World, admin: User, *, off: bool) -> Gateway:
    """Switch the gateway, and let the moment pass for which a web process remembers it."""
    act = disable_gateway if off else enable_gateway
    gateway = act(actor=admin, gateway=world.gus.gateway, reason=WHY)
    views._credentials = CredentialCache()
    return gateway


def leased(world: World) -> str:
    wish = {
        "node": "node-1", "key": world.token, "model": "small", "route": "/v1/chat/completions",
        "want_usd": "1",
    }  # fmt: skip
    lease: str = world.gus.post("/gateway/v1/leases", wish).json()["lease"]
    return lease


def test_a_web_process_remembers_a_gateway_for_a_second(world: World) -> None:
    assert world.gus.authorize(world.token).status_code == 200
    [(kept_at, credential)] = views._credentials._known.values()
    assert KEEP_SECONDS <= 1
    assert views._credentials.get(credential.public_id, at=kept_at + KEEP_SECONDS / 2) == credential
    assert views._credentials.get(credential.public_id, at=kept_at + KEEP_SECONDS) is None


def test_calls_and_polls_are_refused_leases_recalled_and_all_is_as_before_when_it_is_on(
    world: World, admin: User
) -> None:
    reservation = world.gus.authorize(world.token).json()["reservation"]
    lease = leased(world)

    gateway = switched(world, admin, off=True)

    refused = world.gus.authorize(world.token)
    assert (refused.status_code, refused.json()["code"]) == (401, "gateway_unknown")
    assert world.gus.post("/gateway/v1/leases/poll", {"node": "node-1"}).status_code == 401
    assert world.gus.settle(reservation).status_code == 401
    assert Lease.objects.get(public_id=lease).recalled_at == gateway.disabled_at
    off = AuditEvent.objects.get(action="gateway.disabled")
    assert (off.reason, off.after["leases"]) == (WHY, 1)

    switched(world, admin, off=False)

    assert world.gus.authorize(world.token).status_code == 200
    assert world.gus.settle(reservation).status_code == 200
    assert AuditEvent.objects.get(action="gateway.enabled").reason == WHY


def test_nothing_of_it_is_read_while_it_is_off_and_everything_again_afterwards(
    world: World, admin: User
) -> None:
    gateway = world.gus.gateway
    register_gateway(actor=None, name=gateway.name, kind=GatewayKind.LITELLM, base_url=JOURNAL)
    log = register_log(actor=None, gateway=gateway, kind=LogKind.LITELLM, place=JOURNAL)
    sources = {gateway.public_id, log.public_id}

    def read() -> set[str]:
        return set(ImportCursor.objects.filter(closed_at=None).values_list("source", flat=True))

    assert read() == sources
    switched(world, admin, off=True)
    tasks.pull_usage()
    assert tasks.pull_logs() == []
    register_gateway(actor=None, name=gateway.name, kind=GatewayKind.LITELLM, base_url=f"{JOURNAL}/moved")
    assert read() == set()
    switched(world, admin, off=False)
    assert read() == sources
    assert tasks.pull_logs() == [log.public_id]


def test_only_an_administrator_switches_says_why_and_is_told_when_it_is_done_already(
    world: World, admin: User
) -> None:
    gateway = world.gus.gateway
    with pytest.raises(RoleNeededError):
        disable_gateway(actor=world.ada, gateway=gateway, reason=WHY)
    with pytest.raises(InvalidInputError):
        disable_gateway(actor=admin, gateway=gateway, reason=" ")
    with pytest.raises(AlreadyDoneError):
        enable_gateway(actor=admin, gateway=gateway, reason=WHY)
    disable_gateway(actor=admin, gateway=gateway, reason=WHY)
    with pytest.raises(AlreadyDoneError):
        disable_gateway(actor=admin, gateway=gateway, reason=WHY)
    with pytest.raises(RoleNeededError):
        enable_gateway(actor=world.ada, gateway=gateway, reason=WHY)
