"""Reconciliation, read: for those who answer for the books of the whole organisation."""

from django.db.models import QuerySet

from teams.errors import RoleNeededError
from teams.models import ORGANISATION_WIDE, User
from teams.selectors import names_of, role_holders, roles_of
from usage.models import Discrepancy, ReconciliationRun


def runs_for(user: User) -> QuerySet[ReconciliationRun]:
    """Return every run. Raises RoleNeededError for those who do not see the whole organisation."""
    require_the_books(user)
    return ReconciliationRun.objects.all()


def discrepancies_for(user: User) -> QuerySet[Discrepancy]:
    """Return every discrepancy with its run and owner. Raises RoleNeededError as `runs_for` does."""
    require_the_books(user)
    return Discrepancy.objects.select_related("run", "owner")


def require_the_books(user: User) -> None:
    """Raise RoleNeededError with who has the role, unless the user sees the whole organisation."""
    if roles_of(user).sees_everything:
        return
    holders = role_holders()
    people = {person for role in ORGANISATION_WIDE for person in holders.organisation_wide.get(role, ())}
    raise RoleNeededError(
        "The books of the whole organisation are for finance, auditors and administrators."
        f" Ask {names_of(sorted(holders.names[person] for person in people))}."
    )
