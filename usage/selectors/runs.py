"""Reconciliation, read: for those who answer for the books of the whole organisation."""

from django.db.models import QuerySet

from teams.errors import RoleNeededError
from teams.models import ORGANISATION_WIDE, User
from teams.selectors import names_of, role_holders, roles_of
from usage.models import Discrepancy, ReconciliationRun


def runs_for(user: User) -> QuerySet[ReconciliationRun]:
    """Return every run. Raises RoleNeededError for those who do not see the whole organisation."""
    _require_role(user)
    return ReconciliationRun.objects.all()


def discrepancies_for(user: User) -> QuerySet[Discrepancy]:
    """Return every discrepancy with its run and owner. Raises RoleNeededError as `runs_for` does."""
    _require_role(user)
    return Discrepancy.objects.select_related("run", "owner")


def _require_role(user: User) -> None:
    if roles_of(user).sees_everything:
        return
    holders = role_holders()
    people = {person for role in ORGANISATION_WIDE for person in holders.organisation_wide.get(role, ())}
    raise RoleNeededError(
        "Reconciliation is for finance, auditors and administrators."
        f" Ask {names_of(sorted(holders.names[person] for person in people))}."
    )
