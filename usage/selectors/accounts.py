"""Reads providers' accounts, our keys there, and their bills: for those who answer for the books."""

from typing import Any

from django.db.models import Count, Q, QuerySet

from core.errors import NotFoundError
from teams.models import User
from usage.models import ImportCursor, Invoice, ProviderAccount, UpstreamCredential
from usage.selectors.runs import require_books

OPEN_KEYS = Q(credentials__retired_at__isnull=True, credentials__isnull=False)
LISTED = 200


def accounts_for(user: User) -> QuerySet[ProviderAccount]:
    """Return every account with `open_keys`. Raises RoleNeededError for who does not see everything."""
    require_books(user)
    return ProviderAccount.objects.annotate(open_keys=Count("credentials", filter=OPEN_KEYS))


def keys_for(user: User) -> QuerySet[UpstreamCredential]:
    """Return every registered key with its account. Raises RoleNeededError as `accounts_for` does."""
    require_books(user)
    return UpstreamCredential.objects.select_related("account", "registered_by")


def invoices_for(user: User) -> QuerySet[Invoice]:
    """Return every bill with its account, superseded ones too. Raises RoleNeededError as above."""
    require_books(user)
    return Invoice.objects.select_related("account", "uploaded_by")


def find_account(public_id: str) -> Any:
    """Return an account with `open_keys`. Raises NotFoundError."""
    found = ProviderAccount.objects.annotate(open_keys=Count("credentials", filter=OPEN_KEYS))
    account = found.filter(public_id=public_id).first()
    if account is None:
        raise NotFoundError("There is no such account.")
    return account


def open_accounts() -> QuerySet[ProviderAccount]:
    """Return the accounts that are not closed."""
    return ProviderAccount.objects.filter(closed_at=None)


def cursors_by_source() -> dict[str, ImportCursor]:
    """Return every cursor by its source. One query."""
    return {cursor.source: cursor for cursor in ImportCursor.objects.all()}
