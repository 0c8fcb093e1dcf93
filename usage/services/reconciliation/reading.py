"""Whether a provider's figures of a day are there, and whether they will still change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Manager

from core import clock
from usage.models import ImportCursor, ProviderAccount, ProviderCost, ProviderUsage, SourceKind

USAGE_FINAL_AFTER = timedelta(days=1)
COST_FINAL_AFTER = timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a provider's figures of a day stand; `notice` says why they are not known, if they are not."""

    notice: str
    provisional: bool
    data_refreshed_at: datetime | None


def reading(
    accounts: Sequence[int],
    figures: "Manager[ProviderUsage] | Manager[ProviderCost]",
    day: date,
    *,
    final_after: timedelta,
) -> Reading:
    """Return how the current figures of a UTC day of accounts stand. Four queries.

    They are final when the provider says so, or has counted up to `final_after` the end of the day. Until
    they are, the day was read only if every reader of the account has succeeded after its end: a provider who
    counted nothing, or no more, and one nobody asked are not the same.
    """
    ends_at = datetime.combine(day, time.min, tzinfo=UTC) + timedelta(days=1)
    rows = list(
        figures.filter(account__in=accounts, day=day, superseded_at__isnull=True).values_list(
            "account_id", "final", "data_refreshed_at"
        )
    )
    told = {account for account, _, _ in rows}
    moments = [at for _, _, at in rows if at is not None]
    refreshed_at = min(moments, default=None)
    settled_at = ends_at + final_after
    is_final = (
        all(final or (at is not None and at >= settled_at) for _, final, at in rows)
        if rows
        else clock.now() >= settled_at
    )
    known = ProviderAccount.objects.filter(pk__in=accounts).order_by("pk")
    other = SourceKind.COST if figures.model is ProviderUsage else SourceKind.USAGE
    notices = (
        _notice(account, ends_at, other, has_figures=account.pk in told, is_final=is_final)
        for account in known
    )
    return Reading(
        notice=next((notice for notice in notices if notice), ""),
        provisional=not is_final,
        data_refreshed_at=refreshed_at,
    )


def _notice(
    account: ProviderAccount, ends_at: datetime, other: SourceKind, *, has_figures: bool, is_final: bool
) -> str:
    """Say why the provider's figures are not known. What reads an account is named after it; one that is
    closed has said all that it ever will. Figures that are there wait for no reader of the `other` kind.
    """
    if account.closed_at is not None:
        return "" if has_figures else "The account is closed, and told nothing of this day."
    cursors = list(ImportCursor.objects.filter(source__startswith=account.public_id).order_by("source"))
    failing = next((cursor.last_error for cursor in cursors if cursor.last_error), "")
    if failing:
        return f"The provider cannot be read: {failing}"
    if has_figures:
        cursors = [cursor for cursor in cursors if cursor.kind != other]
        if is_final or not cursors:
            return ""  # what was uploaded, and no reader brings, is all there is
    return _not_read(account, cursors, ends_at)


def _not_read(account: ProviderAccount, cursors: Sequence[ImportCursor], ends_at: datetime) -> str:
    """Say why a provider was not read to the end of a day, if it was not."""
    if not cursors and not account.admin_credential:
        return "No credential is set for this account, and no figures were uploaded."
    reached = [cursor.last_success_at for cursor in cursors if cursor.last_success_at is not None]
    if not cursors or len(reached) < len(cursors):
        return "The provider was never read."
    if min(reached) < ends_at:
        return f"The provider was last read at {min(reached):%Y-%m-%d %H:%M} UTC."
    return ""
