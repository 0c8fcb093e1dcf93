"""The twin that the engine is measured against decides as the engine does, and holds the same."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import path

from bench.decisions import AUTHORIZE
from bench.generator import Signer
from bench.twins.views import Authorize, NaiveAuthorize
from bench.world import Group, World, call_usd
from budgets.models import Balance, Reservation
from budgets.selectors import unbalanced_balances
from gateway import views
from gateway.hot.credentials import CredentialCache
from portal.urls import urlpatterns as portal_urls

TWINS = {"/twin": Authorize, "/naive": NaiveAuthorize}
urlpatterns = [
    *portal_urls,
    *(
        path(name.removeprefix("/"), view.as_view(authentication_classes=(), permission_classes=()))
        for name, view in TWINS.items()
    ),
]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class Asker:
    """A gateway that asks either of them about the key of a group."""

    def __init__(self, *, calls: str) -> None:
        views._credentials = CredentialCache()
        self.world = World()
        limit = Decimal(calls) * call_usd(100)
        self.groups: dict[str, Group] = {
            name: self.world.add(name.strip("/").split("/")[0], teams=1, projects=1, keys=1, limit=limit)
            for name in (AUTHORIZE, *TWINS)
        }

    def ask(self, target: str, **changes: Any) -> Any:
        group = self.groups[target]
        question = {
            "request_id": secrets.token_hex(12),
            "key": group.tokens[0],
            "model": "large",
            "route": "/v1/chat/completions",
            "input_bytes": 1000,
            "max_output_tokens": 100,
        }
        body = json.dumps(question | changes).encode()
        headers = Signer(self.world.load_gateway(group.tokens)).headers(target, body)
        return Client().post(target, body, content_type="application/json", headers=headers)

    def held(self, target: str) -> set[Decimal]:
        """Return what the balances of the key's path hold: one figure, when they are equal."""
        balances = Balance.objects.filter(budget__in=self.groups[target].budgets)
        assert len(balances) == 6
        return {balance.reserved_usd for balance in balances}


@pytest.mark.parametrize("target", TWINS)
@pytest.mark.parametrize("calls", ["0.95", "1", "3.5"])
def test_twins_allow_clamp_and_refuse_as_the_engine_does(target: str, calls: str) -> None:
    asker = Asker(calls=calls)
    for _ in range(5):
        told, twin = (asker.ask(path) for path in (AUTHORIZE, target))
        assert twin.status_code == told.status_code
        if told.status_code == 200:
            same = ("decision", "held_usd", "max_output_tokens", "tier")
            assert [twin.json()[name] for name in same] == [told.json()[name] for name in same]
    assert asker.held(target) == asker.held(AUTHORIZE) != {Decimal(0)}
    assert unbalanced_balances() == []


@pytest.mark.parametrize("target", TWINS)
def test_twins_hold_a_repeated_request_once(target: str) -> None:
    asker = Asker(calls="5")
    first, second = (asker.ask(target, request_id="one-and-the-same") for _ in range(2))
    assert first.json()["reservation"] == second.json()["reservation"]
    assert asker.held(target) == {call_usd(100)}
    assert asker.ask(target, request_id="one-and-the-same", input_bytes=7).status_code == 409


@pytest.mark.parametrize("target", TWINS)
def test_twins_refuse_before_money_as_the_engine_does(target: str) -> None:
    asker = Asker(calls="5")
    for changes, status in (
        ({"model": "unheard-of"}, 404),
        ({"key": "psr_live_wrong"}, 401),
        ({"request_id": "short"}, 400),
    ):
        assert asker.ask(AUTHORIZE, **changes).status_code == status
        assert asker.ask(target, **changes).status_code == status
    assert not Reservation.objects.exists()


def test_the_twin_starts_under_its_own_settings() -> None:
    subprocess.run([sys.executable, "-c", "import bench.twins.wsgi"], check=True, timeout=60)
