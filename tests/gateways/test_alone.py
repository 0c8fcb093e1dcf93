"""The web process decides alone: no queue, no worker, no clock of a job is there (I9)."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core import clock
from gateway.auth import credential_of, signed_headers
from keys.models import Grant
from tests import factories
from tests.gateway.conftest import World, build_world
from tests.gateways.servers import Server, eventually, portal_server

pytestmark = pytest.mark.django_db(transaction=True)
NOBODY_LISTENS = "unix:///nonexistent/valkey.sock"


@pytest.fixture
def alone(transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    """Start the web process where Valkey cannot be reached, and nothing else."""
    server = portal_server(log=tmp_path / "output.log", REDIS_URL=NOBODY_LISTENS)
    server.start()
    yield server
    server.stop()


def status(server: Server, world: World, model: str) -> int:
    """Ask for one call as the gateway does, and return the answer's status."""
    path = "/gateway/v1/authorize"
    body = json.dumps(
        {
            "request_id": secrets.token_hex(12), "key": world.token, "model": model, "project_id": None,
            "route": "/v1/chat/completions", "input_bytes": 1000, "max_output_tokens": 100,
        }
    ).encode()  # fmt: skip
    signed = signed_headers(
        credential=credential_of(world.gus.gateway), method="POST", target=path, body=body,
        now_seconds=clock.now().timestamp(),
    )  # fmt: skip
    headers = {"Content-Type": "application/json", **signed}
    request = urllib.request.Request(server.url + path, body, headers)  # noqa: S310  our own server
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_grant_ends_on_time_with_valkey_and_workers_stopped(alone: Server) -> None:
    """Before its end it opens its tier, after it no call; the key keeps Tier 1, and the next one opens."""
    world = build_world()
    assert status(alone, world, "large") == 403
    ends_at = clock.now() + timedelta(seconds=6)
    grant = factories.approved_grant(
        world.key, tier_number=2, starts_at=clock.now() - timedelta(hours=1), expires_at=ends_at
    )
    assert status(alone, world, "large") == 200
    eventually(lambda: clock.now() > ends_at, seconds=20)
    assert (status(alone, world, "large"), status(alone, world, "small")) == (403, 200)
    assert Grant.objects.filter(pk=grant.pk, revoked_at=None).exists(), "nobody ended it"
    later = factories.approved_grant(world.key, tier_number=2)
    assert status(alone, world, "large") == 200
    Grant.objects.filter(pk=later.pk).update(
        revoked_at=clock.now(), revoked_by=world.ada, revoked_reason="Done."
    )
    assert status(alone, world, "large") == 403
