"""Registers providers' accounts and our keys there. A key that reports and is not registered is a bypass."""

from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from catalog.models import Provider
from core import audit, clock, outbound
from core.errors import AlreadyDoneError, InvalidInputError
from core.outbound import UnsafeAddressError
from core.reasons import checked_reason
from core.references import SecretReferenceError, check_reference
from teams.models import User
from teams.selectors import require_admin
from usage.models import ImportCursor, ProviderAccount, SourceKind, UpstreamCredential
from usage.services.cursors import close_cursors, open_cursor
from usage.services.reports import source_name

MAY = "register providers' accounts and keys"
MAX_NAME, MAX_REFERENCE = 100, 240
REPORTING = (Provider.OPENAI, Provider.ANTHROPIC)


@transaction.atomic
def add_account(
    *, actor: User, provider: Provider, name: str, admin_credential: str = "", base_url: str = ""
) -> ProviderAccount:
    """Add an account, whose reports are read from then on.

    `admin_credential` refers to its admin key ("env:NAME", "file:/path") and may be empty: its sources are
    red until there is one. Raises RoleNeededError, AlreadyDoneError for an account that is there, and
    InvalidInputError for a reference that is not allowed or an address that may not be called.
    """
    require_admin(actor, MAY)
    name = _text(name, field="name", most=MAX_NAME, what="the organisation's id at the provider")
    _require_reference(admin_credential)
    _require_address(base_url)
    if ProviderAccount.objects.filter(provider=provider, name=name).exists():
        raise AlreadyDoneError(f"The account {name} of {Provider(provider).label} is there already.")
    account = ProviderAccount.objects.create(
        provider=provider, name=name, admin_credential=admin_credential, base_url=base_url.rstrip("/")
    )
    if provider in REPORTING:
        for kind in (SourceKind.USAGE, SourceKind.COST):
            open_cursor(source=source_name(account, kind), kind=kind)
    after = {"provider": provider, "name": name, "base_url": account.base_url, "refers_to": admin_credential}
    audit.record(actor=actor, action="provider_account.added", subject=account, after=after)
    return account


@transaction.atomic
def change_credential(*, actor: User, account: ProviderAccount, admin_credential: str) -> ProviderAccount:
    """Let an account's admin key be read from another place. Raises as `add_account` does."""
    require_admin(actor, MAY)
    _require_reference(admin_credential)
    mine = _open(account)
    before = {"refers_to": mine.admin_credential}
    mine.admin_credential = admin_credential
    mine.save(update_fields=["admin_credential"])
    ImportCursor.objects.filter(source__in=_sources(mine)).update(next_attempt_at=None)
    audit.record(
        actor=actor,
        action="provider_account.credential_changed",
        subject=mine,
        before=before,
        after={"refers_to": admin_credential},
    )
    return mine


@transaction.atomic
def close_account(*, actor: User, account: ProviderAccount, reason: str) -> ProviderAccount:
    """Read an account's reports no more; its figures stay. Raises AlreadyDoneError for a closed one."""
    require_admin(actor, MAY)
    text = checked_reason(reason)
    mine = _open(account)
    mine.closed_at = clock.now()
    mine.save(update_fields=["closed_at"])
    close_cursors(sources=_sources(mine))
    audit.record(
        actor=actor,
        action="provider_account.closed",
        subject=mine,
        before={"closed_at": None},
        after={"closed_at": mine.closed_at},
        reason=text,
    )
    return mine


@transaction.atomic
def register_key(
    *, actor: User, account: ProviderAccount, external_id: str, label: str, held_by: str = ""
) -> UpstreamCredential:
    """Register a key by the id that the provider's reports use; `held_by` is the gateway that holds it.

    A retired key is taken up again. Raises RoleNeededError, AlreadyDoneError for a key that is registered,
    and InvalidInputError for what looks like the key itself.
    """
    require_admin(actor, MAY)
    external_id = _text(external_id, field="external_id", most=MAX_NAME, what="the key's id")
    label = _text(label, field="label", most=MAX_NAME, what="a name")
    if external_id.startswith("sk-"):
        raise InvalidInputError(
            "This looks like the key itself, and Purser keeps none. Enter its id, such as key_abc or"
            " apikey_01abc, and rotate the key if it was copied around.",
            field="external_id",
        )
    mine = _open(account)
    found = (
        UpstreamCredential.objects.select_for_update(no_key=True)
        .order_by("pk")
        .filter(account=mine, external_id=external_id)
        .first()
    )
    if found is not None and found.retired_at is None:
        raise AlreadyDoneError(f"The key {external_id} is registered as {found.label}.")
    before = {"retired_at": found.retired_at} if found else {}
    key = found or UpstreamCredential(account=mine, external_id=external_id)
    key.label, key.held_by, key.retired_at = label, held_by, None
    key.registered_at, key.registered_by = clock.now(), actor
    key.save()
    after = {"account": mine, "external_id": external_id, "label": label, "held_by": held_by}
    audit.record(actor=actor, action="upstream_key.registered", subject=key, before=before, after=after)
    return key


@transaction.atomic
def retire_key(*, actor: User, key: UpstreamCredential, reason: str) -> UpstreamCredential:
    """Expect nothing of a key any more: usage that it reports from now on is a bypass.

    Raises RoleNeededError, InvalidInputError without a reason, and AlreadyDoneError for a retired one.
    """
    require_admin(actor, MAY)
    text = checked_reason(reason)
    mine = UpstreamCredential.objects.select_for_update(no_key=True).order_by("pk").get(pk=key.pk)
    if mine.retired_at is not None:
        raise AlreadyDoneError("This key is retired already.")
    mine.retired_at = clock.now()
    mine.save(update_fields=["retired_at"])
    audit.record(
        actor=actor,
        action="upstream_key.retired",
        subject=mine,
        before={"retired_at": None},
        after={"retired_at": mine.retired_at},
        reason=text,
    )
    return mine


def _sources(account: ProviderAccount) -> list[str]:
    return [source_name(account, kind) for kind in (SourceKind.USAGE, SourceKind.COST)]


def _open(account: ProviderAccount) -> ProviderAccount:
    mine = ProviderAccount.objects.select_for_update(no_key=True).order_by("pk").get(pk=account.pk)
    if mine.closed_at is not None:
        raise AlreadyDoneError("This account is closed.")
    return mine


def _text(text: str, *, field: str, most: int, what: str) -> str:
    cleaned = text.strip()
    if not cleaned or len(cleaned) > most or "\x00" in cleaned:
        raise InvalidInputError(f"Enter {what} of up to {most} characters.", field=field)
    return cleaned


def _require_reference(reference: str) -> None:
    if not reference:
        return
    try:
        if len(reference) > MAX_REFERENCE:
            raise SecretReferenceError(f"A reference has at most {MAX_REFERENCE} characters.")
        check_reference(reference)
    except SecretReferenceError as error:
        raise InvalidInputError(str(error), field="admin_credential") from error


def _require_address(base_url: str) -> None:
    if not base_url:
        return
    parts = urlsplit(base_url)
    if parts.query or parts.fragment:
        raise InvalidInputError("An address ends before ? and #.", field="base_url")
    try:
        outbound.find_target(base_url, networks=settings.PROVIDER_ALLOWED_NETWORKS)
    except UnsafeAddressError as error:
        raise InvalidInputError(f"This address cannot be called: {error}", field="base_url") from error
