"""Writes gateways: who may ask for decisions, and which versions of its secret are live."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Min, Q

from core import audit, clock
from core.errors import InvalidInputError
from core.references import SecretReferenceError, check_reference
from gateway.adapters.nginx import checked_path
from gateway.auth import MAX_SKEW_SECONDS
from gateway.models import Gateway, GatewayKind, GatewayLog, LogKind, Standing, StandingChange, UsedNonce
from usage.models import SourceKind
from usage.ports import SourceUnavailableError
from usage.services.cursors import close_cursors, open_cursor

# A signature is accepted within MAX_SKEW_SECONDS of the portal's clock, so its nonce counts for twice that.
KEEP_NONCES = timedelta(seconds=4 * MAX_SKEW_SECONDS)
KEEP_STANDINGS = timedelta(days=1)


def forget_nonces() -> int:
    """Delete the nonces of signatures that are too old to be accepted again; return how many there were."""
    return UsedNonce.objects.filter(used_at__lt=clock.now() - KEEP_NONCES).delete()[0]


def forget_standings() -> int:
    """Delete standings that are a day old, and changes that each one left has seen; return how many standings
    there were. One that is asked for daily is looked up once more.
    """
    day_ago = clock.now() - KEEP_STANDINGS
    forgotten = Standing.objects.filter(known_at__lt=day_ago).delete()[0]
    oldest = Standing.objects.aggregate(oldest=Min("seen_before"))["oldest"]
    seen = Q() if oldest is None else Q(xid__lt=oldest)
    StandingChange.objects.filter(seen, at__lt=day_ago).delete()  # no decision that is under way is that old
    return forgotten


@transaction.atomic
def register_gateway(*, actor: audit.Actor | None, name: str, kind: GatewayKind, base_url: str) -> Gateway:
    """Return the gateway of this name, made or moved to `base_url` as needed.

    A new one starts with one live secret. The journal of one that has an address is to be read from now on.
    """
    found = Gateway.objects.select_for_update(no_key=True).order_by("pk").filter(name=name).first()
    if found is None:
        gateway = Gateway.objects.create(name=name, kind=kind, base_url=base_url, live_versions=[1])
        _expect_journal(gateway)
        audit.record(actor=actor, action="gateway.registered", subject=gateway, after={"base_url": base_url})
        return gateway
    if found.base_url != base_url:
        before = {"base_url": found.base_url}
        found.base_url = base_url
        found.save(update_fields=["base_url"])
        _expect_journal(found)
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


@transaction.atomic
def register_log(
    *, actor: audit.Actor | None, gateway: Gateway, kind: LogKind, place: str, admin_credential: str = ""
) -> GatewayLog:
    """Have an ordinary log of a gateway read; one of the same kind is moved to `place`.

    Raises InvalidInputError for a file that is not below the directory of logs, and for a reference to a key
    that is not allowed.
    """
    try:
        if kind == LogKind.NGINX:
            checked_path(place)
        elif admin_credential:
            check_reference(admin_credential)
    except (SourceUnavailableError, SecretReferenceError) as error:
        raise InvalidInputError(str(error)) from error
    found = (
        GatewayLog.objects.select_for_update(no_key=True)
        .order_by("pk")
        .filter(gateway=gateway, kind=kind, closed_at=None)
        .first()
    )
    before = {"place": found.place, "refers_to": found.admin_credential} if found else {}
    log = found or GatewayLog(gateway=gateway, kind=kind)
    log.place, log.admin_credential = place, admin_credential
    log.save()
    open_cursor(source=log.public_id, kind=SourceKind.LOG, gateway=gateway.public_id)
    after = {"place": place, "refers_to": admin_credential}
    audit.record(actor=actor, action="gateway.log_registered", subject=log, before=before, after=after)
    return log


@transaction.atomic
def close_log(*, actor: audit.Actor | None, log: GatewayLog) -> GatewayLog:
    """Read a log no more; what was read of it stays."""
    found = GatewayLog.objects.select_for_update(no_key=True).order_by("pk").get(pk=log.pk)
    found.closed_at = found.closed_at or clock.now()
    found.save(update_fields=["closed_at"])
    close_cursors(sources=[found.public_id])
    after = {"closed_at": found.closed_at}
    audit.record(actor=actor, action="gateway.log_closed", subject=found, after=after)
    return found


def _expect_journal(gateway: Gateway) -> None:
    """Let a gateway be red until its journal is read; one without an address has none that can be."""
    if gateway.base_url:
        open_cursor(source=gateway.public_id, kind=SourceKind.JOURNAL)
    else:
        close_cursors(sources=[gateway.public_id])
