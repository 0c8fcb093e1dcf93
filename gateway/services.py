"""Writes gateways: who may ask for decisions, which secrets are live, and what of a gateway is read."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Min, Q

from budgets.models import Lease
from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError
from core.reasons import checked_reason
from core.references import SecretReferenceError, check_reference
from gateway.adapters.nginx import checked_path
from gateway.auth import MAX_SKEW_SECONDS
from gateway.models import Gateway, GatewayKind, GatewayLog, LogKind, Standing, StandingChange, UsedNonce
from teams.models import User
from teams.selectors import require_admin
from usage.models import SourceKind
from usage.ports import SourceUnavailableError
from usage.services.cursors import close_cursors, open_cursor

# A signature is accepted within MAX_SKEW_SECONDS of the portal's clock, so its nonce counts for twice that.
KEEP_NONCES = timedelta(seconds=4 * MAX_SKEW_SECONDS)
KEEP_STANDINGS = timedelta(days=1)
MAY = "switch gateways off and on"


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
        _read(gateway)
        audit.record(actor=actor, action="gateway.registered", subject=gateway, after={"base_url": base_url})
        return gateway
    if found.base_url != base_url:
        before = {"base_url": found.base_url}
        found.base_url = base_url
        found.save(update_fields=["base_url"])
        _read(found)
        audit.record(
            actor=actor, action="gateway.moved", subject=found, before=before, after={"base_url": base_url}
        )
    return found


@transaction.atomic
def rotate_gateway_secret(*, actor: audit.Actor | None, gateway: Gateway) -> Gateway:
    """Make a new version of the secret live beside the newest one; versions before that are out at once."""
    found = _locked(gateway)
    before = {"live_versions": list(found.live_versions)}
    newest = max(found.live_versions)
    found.live_versions = [newest, newest + 1]
    found.save(update_fields=["live_versions"])
    after = {"live_versions": found.live_versions}
    audit.record(actor=actor, action="gateway.secret_rotated", subject=found, before=before, after=after)
    return found


@transaction.atomic
def disable_gateway(*, actor: User, gateway: Gateway, reason: str) -> Gateway:
    """Let a gateway ask for nothing: its calls are refused within a second, and its leases are recalled.

    Its journal and logs are read no more either; what they tell of is read when it is on again. Calls that it
    had under way are charged their hold. Raises RoleNeededError, InvalidInputError without a reason, and
    AlreadyDoneError when it is off.
    """
    require_admin(actor, MAY)
    text = checked_reason(reason)
    mine = _locked(gateway)
    if mine.disabled_at is not None:
        raise AlreadyDoneError(f"The gateway {mine} is off already. Nothing needs to be done.")
    mine.disabled_at = clock.now()
    mine.save(update_fields=["disabled_at"])
    held = Lease.objects.filter(source=mine.public_id, closed_at=None, recalled_at=None)
    ids = list(held.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    Lease.objects.filter(pk__in=ids).update(recalled_at=mine.disabled_at)
    close_cursors(sources=[mine.public_id, *_logs(mine)])
    after = {"disabled_at": mine.disabled_at, "leases": len(ids)}
    before = {"disabled_at": None}
    audit.record(
        actor=actor, action="gateway.disabled", subject=mine, before=before, after=after, reason=text
    )
    return mine


@transaction.atomic
def enable_gateway(*, actor: User, gateway: Gateway, reason: str) -> Gateway:
    """Let a gateway ask for decisions again, and read what it tells from where the reading stopped.

    Raises as disabling does, AlreadyDoneError when it is on.
    """
    require_admin(actor, MAY)
    text = checked_reason(reason)
    mine = _locked(gateway)
    if mine.disabled_at is None:
        raise AlreadyDoneError(f"The gateway {mine} is on. Nothing needs to be done.")
    before = {"disabled_at": mine.disabled_at}
    mine.disabled_at = None
    mine.save(update_fields=["disabled_at"])
    _read(mine)
    after = {"disabled_at": None}
    audit.record(actor=actor, action="gateway.enabled", subject=mine, before=before, after=after, reason=text)
    return mine


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
    mine = _locked(gateway)
    found = (
        GatewayLog.objects.select_for_update(no_key=True)
        .order_by("pk")
        .filter(gateway=mine, kind=kind, closed_at=None)
        .first()
    )
    before = {"place": found.place, "refers_to": found.admin_credential} if found else {}
    log = found or GatewayLog(gateway=mine, kind=kind)
    log.place, log.admin_credential = place, admin_credential
    log.save()
    _read(mine)
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


def _read(gateway: Gateway) -> None:
    """Let a gateway be red until its journal and logs are read; one without an address has no journal that
    can be. Nothing of one that is off is read.
    """
    if gateway.disabled_at is not None:
        return
    for log in _logs(gateway):
        open_cursor(source=log, kind=SourceKind.LOG, gateway=gateway.public_id)
    if gateway.base_url:
        open_cursor(source=gateway.public_id, kind=SourceKind.JOURNAL)
    else:
        close_cursors(sources=[gateway.public_id])


def _logs(gateway: Gateway) -> list[str]:
    """Return the logs of a gateway that are read while it is on, by their public ids. One query."""
    return list(gateway.logs.filter(closed_at=None).order_by("pk").values_list("public_id", flat=True))


def _locked(gateway: Gateway) -> Gateway:
    return Gateway.objects.select_for_update(no_key=True).order_by("pk").get(pk=gateway.pk)
