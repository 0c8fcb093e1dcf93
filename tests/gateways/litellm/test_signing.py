"""Both sides of the wire sign alike and know the same keys; what is forged, stale or repeated is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway import auth
from gateway.plugins.litellm.purser_plugin import keys, signing
from keys import secrets

VECTOR: dict[str, Any] = {
    "method": "POST",
    "target": "/gateway/v1/settle",
    "timestamp": "1795400000",
    "nonce": "abcdefghijklmnop_-1234",
    "body": b'{"reservation": "rsv_1"}',
}
SIGNATURE = "v1=1c3defe1458e4fddda7103930007c0176481bd22fc8c92b43989e6baa1f33f70"
NOW = 1_795_400_030.0
NEW, OLD = "gws_new", "gws_old"


def test_both_sides_sign_as_the_contract_says() -> None:
    theirs = signing.signature(secret="gws_secret", **VECTOR)
    assert theirs == auth.signature(secret="gws_secret", **VECTOR) == SIGNATURE


def test_the_portal_accepts_what_the_plugin_signs() -> None:
    headers = signing.signed_headers(
        gateway_id="gw_1", secret="gws_secret", method="POST", target="/x?y=1", body=b"{}"
    )
    credential = auth.Credential(gateway_id=1, public_id="gw_1", secrets=("gws_old", "gws_secret"))
    request = auth.SignedRequest(
        method="POST",
        target="/x?y=1",
        headers={name.lower(): value for name, value in headers.items()},
        body=b"{}",
    )
    assert auth.verify(request, credential=credential, now_seconds=int(headers["Purser-Timestamp"]))


def signed_by_the_portal(secret: str = NEW, **changes: object) -> dict[str, str]:
    """Return the headers of a pull, in lower case."""
    credential = auth.Credential(gateway_id=1, public_id="gw_1", secrets=("gws_old", secret))
    headers = auth.signed_headers(
        credential=credential, method="GET", target="/purser/v1/usage?limit=5", body=b"", now_seconds=NOW
    )
    return {name.lower(): value for name, value in headers.items()} | {
        str(k): str(v) for k, v in changes.items()
    }


def verifier(now: float = NOW) -> signing.Verifier:
    """Return the plugin's side of a gateway with two live secrets."""
    return signing.Verifier(gateway_id="gw_1", secrets=("gws_new", "gws_old"), clock=lambda: now)


def pull(headers: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of a verification."""
    return {"method": "GET", "target": "/purser/v1/usage?limit=5", "headers": headers, "body": b""}


def test_the_plugin_accepts_either_live_secret_of_the_portal() -> None:
    checked = verifier()
    checked.verify(**pull(signed_by_the_portal("gws_new")))
    checked.verify(**pull(signed_by_the_portal("gws_old")))


@pytest.mark.parametrize(
    ("headers", "now", "code"),
    [
        (signed_by_the_portal("gws_stolen"), NOW, "gateway_signature_invalid"),
        (signed_by_the_portal(**{"purser-gateway": "gw_2"}), NOW, "gateway_unknown"),
        (signed_by_the_portal(**{"purser-nonce": "short"}), NOW, "gateway_signature_invalid"),
        (signed_by_the_portal(**{"purser-timestamp": "1795400031"}), NOW, "gateway_signature_invalid"),
        (signed_by_the_portal(), NOW + 61, "gateway_signature_stale"),
        (signed_by_the_portal(), NOW - 61, "gateway_signature_stale"),
        ({}, NOW, "gateway_unknown"),
    ],
)
def test_a_request_that_is_not_the_portals_is_refused(headers: dict[str, str], now: float, code: str) -> None:
    with pytest.raises(signing.SignatureError) as refused:
        verifier(now).verify(**pull(headers))
    assert refused.value.code == code


def test_a_signature_is_good_for_one_request() -> None:
    checked, headers = verifier(), signed_by_the_portal()
    checked.verify(**pull(headers))
    with pytest.raises(signing.SignatureError) as refused:
        checked.verify(**pull(headers))
    assert refused.value.code == "gateway_signature_replayed"


def test_a_signature_covers_the_query() -> None:
    arguments = pull(signed_by_the_portal()) | {"target": "/purser/v1/usage?limit=1000"}
    with pytest.raises(signing.SignatureError):
        verifier().verify(**arguments)


def test_the_plugin_knows_every_key_that_the_portal_makes() -> None:
    for _ in range(200):
        token = secrets.new_token()
        assert keys.is_well_formed(token)
        assert keys.is_well_formed(token[:9] + token[9:].swapcase()) == secrets.is_wellformed(
            token[:9] + token[9:].swapcase()
        )


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1], lambda k: k + "a", lambda k: k.upper(), lambda k: " " + k, lambda _: ""]
)
def test_a_key_with_a_typing_error_is_refused_offline(change: Callable[[str], str]) -> None:
    assert not keys.is_well_formed(change(secrets.new_token()))


def test_every_changed_character_breaks_the_checksum() -> None:
    token = secrets.new_token()
    for place in range(9, len(token)):
        other = "0" if token[place] != "0" else "1"
        assert not keys.is_well_formed(token[:place] + other + token[place + 1 :])
