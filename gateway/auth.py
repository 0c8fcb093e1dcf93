"""Who a signed gateway request comes from. The scheme is in docs/gateway-api.md."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from django.conf import settings

from core.errors import DomainError
from core.keyed import hmac_sha256
from gateway.models import Gateway

MAX_SKEW_SECONDS = 60
NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
SIGNING_HEADERS = ("purser-gateway", "purser-timestamp", "purser-nonce", "purser-signature")


class GatewaySignatureError(DomainError):
    """The request is not from a gateway that we know. Never the fault of the gateway's client."""

    status = HTTPStatus.UNAUTHORIZED
    title = "Gateway signature refused"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What is needed to check a gateway's signatures: its ids and its one or two live secrets."""

    gateway_id: int
    public_id: str
    secrets: tuple[str, ...]


@dataclass(slots=True, kw_only=True)  # not frozen, which makes it three times as fast to make
class SignedRequest:
    """The parts of a request that its signature covers, and the headers that carry it (names in lower
    case).
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def secret_for(gateway: Gateway, version: int) -> str:
    """Return one version of a gateway's secret, derived from GATEWAY_ROOT_SECRET: the database holds
    nothing to steal.
    """
    label = f"gateway:{gateway.public_id}:{version}".encode()
    return "gws_" + hmac.new(settings.GATEWAY_ROOT_SECRET, label, hashlib.sha256).hexdigest()


def credential_of(gateway: Gateway) -> Credential:
    """Return the credential that checks this gateway's requests."""
    return Credential(
        gateway_id=gateway.pk,
        public_id=gateway.public_id,
        secrets=tuple(secret_for(gateway, version) for version in gateway.live_versions),
    )


def signature(*, secret: str, method: str, target: str, timestamp: str, nonce: str, body: bytes) -> str:
    """Return the value of `Purser-Signature` for one request."""
    message = signed_message(method, target, timestamp, nonce, body)
    return signature_of(message, secret=secret).decode()


def signed_message(method: str, target: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """Return what a signature covers."""
    return f"v1\n{method}\n{target}\n{timestamp}\n{nonce}\n{hashlib.sha256(body).hexdigest()}".encode()


def signature_of(message: bytes, *, secret: str) -> bytes:
    """Return the signature of a message."""
    return b"v1=" + hmac_sha256(secret.encode(), message).hex().encode()


def signed_headers(
    *, credential: Credential, method: str, target: str, body: bytes, now_seconds: float
) -> dict[str, str]:
    """Sign a request to a gateway with the newest secret that both sides hold."""
    timestamp, nonce = str(int(now_seconds)), secrets.token_urlsafe(24)
    return {
        "Purser-Gateway": credential.public_id,
        "Purser-Timestamp": timestamp,
        "Purser-Nonce": nonce,
        "Purser-Signature": signature(
            secret=credential.secrets[-1],
            method=method,
            target=target,
            timestamp=timestamp,
            nonce=nonce,
            body=body,
        ),
    }


def verify(request: SignedRequest, *, credential: Credential, now_seconds: float) -> str:
    """Check signature and time, and return the nonce, which the caller must use up in the transaction of
    the effect.

    Raises GatewaySignatureError; comparing takes the same time whatever is wrong.
    """
    timestamp = request.headers.get("purser-timestamp", "")
    nonce = request.headers.get("purser-nonce", "")
    given = request.headers.get("purser-signature", "")
    if not NONCE.fullmatch(nonce) or not timestamp.isdecimal() or len(timestamp) > 12:
        raise GatewaySignatureError(
            "gateway_signature_invalid",
            "Send Purser-Timestamp, Purser-Nonce and Purser-Signature as docs/gateway-api.md says.",
        )
    message = signed_message(request.method, request.target, timestamp, nonce, request.body)
    matches = [
        hmac.compare_digest(signature_of(message, secret=secret), given.encode())
        for secret in credential.secrets
    ]
    if not any(matches):
        raise GatewaySignatureError(
            "gateway_signature_invalid",
            "The signature does not fit the request. Check the secret with `manage.py gateway_config`.",
        )
    if abs(now_seconds - int(timestamp)) > MAX_SKEW_SECONDS:
        raise GatewaySignatureError(
            "gateway_signature_stale",
            "The timestamp is more than 60 seconds from the portal's clock. Check the gateway's clock.",
        )
    return nonce
