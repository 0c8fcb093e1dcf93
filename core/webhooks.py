"""Webhooks by the Standard Webhooks convention: id, timestamp and signatures over both and the body.

A secret is HMAC(GATEWAY_ROOT_SECRET, webhook and version): the database holds none, and a receiver is given
his. While a secret is replaced, both live ones sign. Source: github.com/standard-webhooks, spec 1.0.0.
"""

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable

from django.conf import settings

from core import clock, outbound
from core.models import Outbox, Webhook
from core.outbound import Answer

PREFIX = "whsec_"


def secret_of(webhook: Webhook, version: int) -> str:
    """Return one of a webhook's secrets, as its receiver is given it."""
    said = f"webhook:{webhook.public_id}:{version}".encode()
    return PREFIX + b64encode(hmac.digest(settings.GATEWAY_ROOT_SECRET, said, "sha256")).decode()


def signature(secrets: Iterable[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature header: one `v1,` for each live secret, with spaces between them."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    keys = (b64decode(secret.removeprefix(PREFIX)) for secret in secrets)
    return " ".join(f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys)


def send(webhook: Webhook, message: Outbox) -> Answer:
    """Post one event and return the answer. The id is the message's: it stays when it is sent again."""
    body = json.dumps(message.payload, ensure_ascii=False, separators=(",", ":")).encode()
    timestamp = int(clock.now().timestamp())
    secrets = [secret_of(webhook, version) for version in webhook.live_versions]
    signed = signature(secrets, message_id=message.public_id, timestamp=timestamp, body=body)
    headers = {
        "content-type": "application/json",
        "user-agent": f"purser/{settings.VERSION}",
        "webhook-id": message.public_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signed,
    }
    return outbound.post(webhook.url, body=body, headers=headers)
