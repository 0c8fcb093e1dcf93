"""Only a gateway that we know, now, and only once: everything else is refused and books nothing."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ImproperlyConfigured

from budgets.models import Reservation
from core import clock
from gateway import views
from gateway.auth import (
    Credential,
    SignedRequest,
    credential_of,
    secret_for,
    signature,
    signed_headers,
    verify,
)
from gateway.hot.credentials import CredentialCache
from portal.settings import _secret
from tests.gateway.conftest import World

PATH = "/gateway/v1/authorize"


@pytest.mark.parametrize("name", ["GATEWAY_ROOT_SECRET", "AUDIT_HMAC_KEY"])
@pytest.mark.parametrize("value", ["", "short"])
def test_without_its_secrets_the_portal_does_not_start(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        _secret(name)


def body_of(world: World) -> bytes:
    return json.dumps(
        {
            "request_id": "r-12345678",
            "key": world.token,
            "model": "small",
            "route": "/v1/chat/completions",
            "input_bytes": 10,
        }
    ).encode()


def headers_of(world: World, body: bytes, *, path: str = PATH, skew_seconds: int = 0) -> dict[str, str]:
    return signed_headers(
        credential=credential_of(world.gus.gateway),
        method="POST",
        target=path,
        body=body,
        now_seconds=clock.now().timestamp() + skew_seconds,
    )


def refused(world: World, body: bytes, headers: dict[str, str]) -> str:
    answer = world.gus.client.post(PATH, body, content_type="application/json", headers=headers)
    assert answer.status_code == 401
    assert Reservation.objects.count() == 0
    code: str = answer.json()["code"]
    return code


def test_the_signature_has_the_published_value() -> None:
    # Computed by hand from docs/gateway-api.md with `openssl dgst -sha256 -hmac gws_example`.
    message_parts = {
        "method": "POST",
        "target": "/gateway/v1/settle",
        "timestamp": "1764000000",
        "nonce": "n" * 16,
        "body": b"{}",
    }
    assert signature(secret="gws_example", **message_parts) == PUBLISHED_SIGNATURE  # type: ignore[arg-type]


PUBLISHED_SIGNATURE = "v1=62163fe8bcbd6f79216b164c0b3ed7c7f73bbc1cc561ae7e975ed7ccf32e79ae"


def test_no_headers_at_all_are_refused(world: World) -> None:
    assert refused(world, body_of(world), {}) == "gateway_unknown"


def test_an_unknown_gateway_is_refused(world: World) -> None:
    body = body_of(world)
    assert (
        refused(world, body, {**headers_of(world, body), "Purser-Gateway": "gw_nobody"}) == "gateway_unknown"
    )


def test_a_disabled_gateway_is_refused(world: World) -> None:
    world.gus.gateway.disabled_at = clock.now()
    world.gus.gateway.save()
    body = body_of(world)
    assert refused(world, body, headers_of(world, body)) == "gateway_unknown"


@pytest.mark.parametrize("header", ["Purser-Timestamp", "Purser-Nonce", "Purser-Signature"])
def test_a_changed_header_breaks_the_signature(world: World, header: str) -> None:
    body = body_of(world)
    headers = headers_of(world, body)
    last = headers[header][-1]
    headers[header] = headers[header][:-1] + ("1" if last != "1" else "2")
    assert refused(world, body, headers) == "gateway_signature_invalid"


def test_a_changed_body_or_path_breaks_the_signature(world: World) -> None:
    body = body_of(world)
    assert refused(world, body + b" ", headers_of(world, body)) == "gateway_signature_invalid"
    assert (
        refused(world, body, headers_of(world, body, path="/gateway/v1/settle"))
        == "gateway_signature_invalid"
    )


@pytest.mark.parametrize("skew_seconds", [-70, 70])
def test_a_clock_that_is_a_minute_off_is_told_so(world: World, skew_seconds: int) -> None:
    body = body_of(world)
    assert (
        refused(world, body, headers_of(world, body, skew_seconds=skew_seconds)) == "gateway_signature_stale"
    )


def test_a_replayed_signature_is_refused_also_for_settle_and_release(world: World) -> None:
    for path, body in (
        (PATH, body_of(world)),
        ("/gateway/v1/settle", b'{"reservation": "rsv_none", "usage": {}, "finish": "stop"}'),
        ("/gateway/v1/release", b'{"reservation": "rsv_none"}'),
    ):
        headers = headers_of(world, body, path=path)
        first = world.gus.client.post(path, body, content_type="application/json", headers=headers)
        assert first.status_code in (200, 404)
        again = world.gus.client.post(path, body, content_type="application/json", headers=headers)
        assert (again.status_code, again.json()["code"]) == (401, "gateway_signature_replayed")
    assert Reservation.objects.count() == 1


def test_two_secrets_live_while_one_replaces_the_other(world: World) -> None:
    gateway = world.gus.gateway
    old = credential_of(gateway)
    gateway.live_versions = [1, 2]
    gateway.save()
    views._credentials = CredentialCache()
    body = body_of(world)
    for credential in (old, credential_of(gateway)):
        headers = signed_headers(
            credential=credential, method="POST", target=PATH, body=body, now_seconds=clock.now().timestamp()
        )
        assert (
            world.gus.client.post(PATH, body, content_type="application/json", headers=headers).status_code
            == 200
        )
    gateway.live_versions = [2]
    gateway.save()
    views._credentials = CredentialCache()
    headers = signed_headers(
        credential=old, method="POST", target=PATH, body=body, now_seconds=clock.now().timestamp()
    )
    assert (
        world.gus.client.post(PATH, body, content_type="application/json", headers=headers).status_code == 401
    )


def test_the_database_holds_no_secret_of_a_gateway(world: World) -> None:
    secret = secret_for(world.gus.gateway, 1)
    row = [str(value) for value in vars(world.gus.gateway).values()]
    assert not any(secret in value or (value in secret and len(value) > 20) for value in row)
    assert secret_for(world.gus.gateway, 2) != secret


def test_a_target_with_a_query_is_signed_with_it() -> None:
    credential = Credential(gateway_id=1, public_id="gw_a", secrets=("one", "two"))
    headers = {
        name.lower(): value
        for name, value in signed_headers(
            credential=credential, method="GET", target="/x?a=1", body=b"", now_seconds=1_000_000
        ).items()
    }
    request = SignedRequest(method="GET", target="/x?a=1", headers=headers, body=b"")
    assert verify(request, credential=credential, now_seconds=1_000_000) == headers["purser-nonce"]
