"""Writes gateways: who may ask for decisions, and which versions of its secret are live."""

from datetime import timedelta

from django.db import transaction

from core import audit, clock
from gateway.auth import MAX_SKEW_SECONDS
from gateway.models import Gateway, GatewayKind, UsedNonce

# A signature is accepted within MAX_SKEW_SECONDS of the portal's clock, so its nonce counts for twice that.
KEEP_NONCES = timedelta(seconds=4 * MAX_SKEW_SECONDS)


def forget_nonces() -> int:
    """Delete the nonces of signatures that are too old to be accepted again; return how many there were."""
    return UsedNonce.objects.filter(used_at__lt=clock.now() - KEEP_NONCES).delete()[0]


@transaction.atomic
def register_gateway(*, actor: audit.Actor | None, name: str, kind: GatewayKind, base_url: str) -> Gateway:
    """Return the gateway of this name, made or moved to `base_url` as needed.

    A new one starts with one live secret.
    """
    found = Gateway.objects.select_for_update(no_key=True).order_by("pk").filter(name=name).first()
    if found is None:
        gateway = Gateway.objects.create(name=name, kind=kind, base_url=base_url, live_versions=[1])
        audit.record(actor=actor, action="gateway.registered", subject=gateway, after={"base_url": base_url})
        return gateway
    if found.base_url != base_url:
        before = {"base_url": found.base_url}
        found.base_url = base_url
        found.save(update_fields=["base_url"])
        audit.record(
            actor=actor, action="gateway.moved", subject=found, before=before, after={"base_url": base_url}
        )
    return found


@transaction.atomic
def rotate_gateway_secret(*, actor: audit.Actor | None, gateway: Gateway) -> Gateway:
    """Make a new version of the secret live beside the newest one; versions before that are out at once."""
    found = Gateway.objects.select_for_update(no_key=True).order_by("pk").get(pk=gateway.pk)
    before = {"live_versions": list(found.live_versions)}
    newest = max(found.live_versions)
    found.live_versions = [newest, newest + 1]
    found.save(update_fields=["live_versions"])
    after = {"live_versions": found.live_versions}
    audit.record(actor=actor, action="gateway.secret_rotated", subject=found, before=before, after=after)
    return found
