"""Who opens the pages of the books, and what stands above them."""

from django.urls import reverse

from core.shapes import Tab
from teams.models import Role
from teams.selectors import roles_of
from teams.types import PersonRequest
from usage.selectors import runs

TABS = (
    ("Sources", "sources:list"),
    ("Provider accounts", "providers:list"),
    ("Invoices", "invoices:list"),
)


def require_books(request: PersonRequest) -> None:
    """Raise RoleNeededError for who has no role for the whole organisation: all teams' figures stand here."""
    request.roles_held = roles_of(request.user)
    if not request.roles_held.sees_everything:
        runs.require_books(request.user)


def administers(request: PersonRequest) -> bool:
    """Whether the person, whose roles were read, runs the portal."""
    return Role.ADMIN in request.roles_held.organisation_wide


def keeps_the_books(request: PersonRequest) -> bool:
    """Whether the person, whose roles were read, is of finance or runs the portal."""
    return bool({Role.ADMIN, Role.FINANCE} & request.roles_held.organisation_wide)


def tabs(current: str) -> list[Tab]:
    """Return the three pages about what others say of our usage."""
    return [Tab(label=label, url=reverse(view), current=view == current) for label, view in TABS]
