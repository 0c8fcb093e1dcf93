"""Signed requests between the gateway and the portal: HMAC-SHA256 over method, path, time, nonce and body.

The scheme is written down in docs/gateway-api.md of the portal; both directions use it.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

CLOCK_TOLERANCE_SECONDS = 60
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)


class SignatureError(Exception):
    """A signed request was refused; `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def signature(*, secret: str, method: str, target: str, timestamp: str, nonce: str, body: bytes) -> str:
    """Return the value of `Purser-Signature`. `target` is the path with its query string."""
    message = "\n".join(("v1", method, target, timestamp, nonce, hashlib.sha256(body).hexdigest()))
    return "v1=" + hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


def signed_headers(*, gateway_id: str, secret: str, method: str, target: str, body: bytes) -> dict[str, str]:
    """Return the four headers of a request made now, with a fresh nonce."""
    timestamp, nonce = str(int(time.time())), secrets.token_urlsafe(18)
    return {
        "Purser-Gateway": gateway_id,
        "Purser-Timestamp": timestamp,
        "Purser-Nonce": nonce,
        "Purser-Signature": signature(
            secret=secret, method=method, target=target, timestamp=timestamp, nonce=nonce, body=body
        ),
    }


class Verifier:
    """Checks requests signed by the portal; remembers nonces for as long as their timestamps could still
    pass.
    """

    def __init__(
        self, *, gateway_id: str, secrets: Sequence[str], clock: Callable[[], float] = time.time
    ) -> None:
        self._gateway_id = gateway_id
        self._secrets = tuple(secrets)
        self._clock = clock
        self._seen: dict[str, float] = {}

    def verify(self, *, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the request is authentic, fresh and new; raises SignatureError otherwise.

        Header names are lower case.
        """
        nonce = headers.get("purser-nonce", "")
        timestamp = headers.get("purser-timestamp", "")
        if headers.get("purser-gateway") != self._gateway_id:
            raise SignatureError("gateway_unknown", "This is another gateway.")
        matches = [
            hmac.compare_digest(
                headers.get("purser-signature", "").encode(),
                signature(
                    secret=secret, method=method, target=target, timestamp=timestamp, nonce=nonce, body=body
                ).encode(),
            )
            for secret in self._secrets
        ]
        if not _NONCE.fullmatch(nonce) or not any(matches):
            raise SignatureError("gateway_signature_invalid", "The signature does not fit the request.")
        now = self._clock()
        if not timestamp.isdigit() or abs(now - int(timestamp)) > CLOCK_TOLERANCE_SECONDS:
            raise SignatureError(
                "gateway_signature_stale", "The timestamp is more than 60 s from this gateway's clock."
            )
        self._remember(nonce, now)

    def _remember(self, nonce: str, now: float) -> None:
        horizon = now - 2 * CLOCK_TOLERANCE_SECONDS
        self._seen = {old: seen_at for old, seen_at in self._seen.items() if seen_at >= horizon}
        if nonce in self._seen:
            raise SignatureError("gateway_signature_replayed", "This nonce was used before.")
        self._seen[nonce] = now
