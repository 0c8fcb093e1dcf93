"""What every page needs around its own content: theme, navigation, whose portal it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from portal.views import THEMES
from teams.models import User
from teams.selectors import RolesHeld, roles_of


def everybody(roles: RolesHeld) -> bool:
    """Whoever is signed in."""
    return True


def oversees_money(roles: RolesHeld) -> bool:
    """Whether the person answers for a team's, a department's or everybody's spend."""
    return bool(roles.leads or roles.directs or roles.organisation_wide)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One entry of the navigation; `shown_to` hides what a person could not open anyway."""

    label: str
    view: str
    icon: str
    counts_waiting: bool = False
    shown_to: Callable[[RolesHeld], bool] = everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class NavItem:
    """An entry as this page shows it; `current` marks the section that the page belongs to."""

    label: str
    url: str
    icon: str
    counts_waiting: bool
    current: bool


SECTIONS = (
    Section(label="Overview", view="overview", icon="house"),
    Section(label="Models and tiers", view="models", icon="layers"),
    Section(label="Ask for access", view="approvals:ask", icon="send"),
    Section(label="Approvals", view="approvals:list", icon="inbox", counts_waiting=True),
    Section(label="Keys", view="keys:list", icon="key-round"),
    Section(label="Budgets", view="budgets:list", icon="wallet"),
    Section(label="Reconciliation", view="reconciliation:list", icon="scale", shown_to=oversees_money),
    Section(label="Status", view="status", icon="activity"),
)


def shell(request: HttpRequest) -> dict[str, Any]:
    """Return the variables of the frame; what asks the database does so only when a template shows it."""
    theme = request.COOKIES.get("theme", "")
    return {
        "theme": theme if theme in THEMES else "",
        "organisation": settings.ORGANISATION_NAME,
        "nav_items": lambda: nav_items(request),
    }


def nav_items(request: HttpRequest) -> list[NavItem]:
    """Return the navigation of the signed-in person, with this page's section marked."""
    if not isinstance(request.user, User):
        return []
    roles = roles_of(request.user)
    current = _section_of(request)
    return [
        NavItem(
            label=section.label,
            url=reverse(section.view),
            icon=section.icon,
            counts_waiting=section.counts_waiting,
            current=section is current,
        )
        for section in SECTIONS
        if section.shown_to(roles)
    ]


def _section_of(request: HttpRequest) -> Section | None:
    """Find the section with this very view, else the one with the list of the same app."""
    match = request.resolver_match
    if match is None:
        return None
    by_view = {section.view: section for section in SECTIONS}
    return by_view.get(match.view_name) or by_view.get(f"{match.namespace}:list")
