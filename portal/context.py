"""What every page needs around its own content: theme, navigation, whose portal it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from approvals.selectors import waiting_count
from portal.views import THEMES
from teams.models import Role, User
from teams.selectors import RolesHeld, require_admin, roles_of
from teams.types import PersonRequest
from usage.selectors import freshness

ROLES = "roles_held"  # where a request keeps the roles of who asks, once they are read


def everybody(roles: RolesHeld) -> bool:
    """Whoever is signed in."""
    return True


def checks_the_books(roles: RolesHeld) -> bool:
    """Whether a role shows the person how the portal's figures compare with the gateways'."""
    return roles.sees_everything


def administers(roles: RolesHeld) -> bool:
    """Whether the person runs the portal."""
    return Role.ADMIN in roles.organisation_wide


def decides(roles: RolesHeld) -> bool:
    """Whether a role could let the person decide requests of others."""
    return bool(roles.leads or roles.directs or {Role.ADMIN, Role.FINANCE} & roles.organisation_wide)


def may_be_asked(roles: RolesHeld) -> bool:
    """Whether requests of others can wait for the person: for a role of his, or one that was lent to him."""
    return decides(roles) or roles.stands_in


def answers_for_others(roles: RolesHeld) -> bool:
    """Whether what other people are and did is the person's business."""
    return roles.sees_everything or decides(roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One entry of the navigation; `shown_to` hides what a person could not open anyway, or
    what is of no use to him; sections of a `group` stand together under its name.
    """

    label: str
    view: str
    icon: str
    group: str = ""
    counts_waiting: bool = False
    shown_to: Callable[[RolesHeld], bool] = everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class NavItem:
    """An entry as this page shows it; `current` marks the section that the page belongs to."""

    label: str
    url: str
    icon: str
    group: str
    counts_waiting: bool
    current: bool


# Pages that belong to another section than the first list of their app: by name space, or by view.
WITHIN = {
    "providers": "sources:list",
    "invoices": "sources:list",
    "team": "teams:list",
    "move_team": "teams:list",
    "approvals:break_glass": "approvals:ask",
    "approvals:edit_policy": "approvals:policies",
    "approvals:retire_policy": "approvals:policies",
    "approvals:proposal": "approvals:policies",
}
SPEND, ORGANISATION = "Spend", "Organisation"
SECTIONS = (
    Section(label="Overview", view="overview", icon="house"),
    Section(label="Models and tiers", view="models", icon="layers"),
    Section(label="Ask for access", view="approvals:ask", icon="send"),
    Section(label="Approvals", view="approvals:list", icon="inbox", counts_waiting=True),
    Section(label="Keys", view="keys:list", icon="key-round"),
    Section(group=SPEND, label="Budgets", view="budgets:list", icon="wallet"),
    Section(group=SPEND, label="Blocked calls", view="blocked:list", icon="shield-ban"),
    Section(group=SPEND, label="Prices", view="prices:list", icon="tag", shown_to=checks_the_books),
    Section(group=SPEND, label="Reports", view="reports:list", icon="file-text", shown_to=answers_for_others),
    Section(
        group=SPEND,
        label="Reconciliation",
        view="reconciliation:list",
        icon="scale",
        shown_to=checks_the_books,
    ),
    Section(group=SPEND, label="Sources", view="sources:list", icon="database", shown_to=checks_the_books),
    Section(
        group=SPEND,
        label="Quarantine",
        view="quarantine:list",
        icon="octagon-alert",
        shown_to=checks_the_books,
    ),
    Section(
        group=SPEND,
        label="Period close",
        view="reconciliation:periods",
        icon="calendar-check",
        shown_to=checks_the_books,
    ),
    Section(
        group=ORGANISATION, label="Teams", view="teams:list", icon="building-2", shown_to=answers_for_others
    ),
    Section(
        group=ORGANISATION, label="People", view="people:list", icon="users", shown_to=answers_for_others
    ),
    Section(
        group=ORGANISATION,
        label="Policies",
        view="approvals:policies",
        icon="list-checks",
        shown_to=administers,
    ),
    Section(
        group=ORGANISATION, label="Audit", view="audit:list", icon="scroll-text", shown_to=answers_for_others
    ),
    Section(
        group=ORGANISATION, label="Deliveries", view="deliveries:list", icon="mail", shown_to=administers
    ),
    Section(group=ORGANISATION, label="Gateways", view="gateways:list", icon="network", shown_to=administers),
    Section(group=ORGANISATION, label="Webhooks", view="webhooks:list", icon="webhook", shown_to=administers),
    Section(group=ORGANISATION, label="API", view="developers", icon="terminal"),
    Section(group=ORGANISATION, label="Status", view="status", icon="activity"),
)


def shell(request: HttpRequest) -> dict[str, Any]:
    """Return the variables of the frame; what asks the database does so only when a template shows it."""
    return {
        "theme": theme_of(request),
        "organisation": settings.ORGANISATION_NAME,
        "time_zone": settings.TIME_ZONE,
        "layout": lambda: layout(request),
        "nav_items": lambda: nav_items(request),
        "approvals_waiting": SimpleLazyObject(lambda: approvals_waiting(request)),
        "freshness": SimpleLazyObject(freshness),
        "may_reconcile": lambda: checks_the_books(roles_here(request)),
        "may_administer": lambda: administers(roles_here(request)),
    }


def theme_of(request: HttpRequest) -> str:
    """Return the theme that was chosen; empty is the system's."""
    chosen = request.COOKIES.get("theme", "")
    return chosen if chosen in THEMES else ""


def layout(request: HttpRequest) -> str:
    """Name the template around a page that anybody may be shown: only who is signed in gets the frame."""
    if request.headers.get("HX-Request"):
        return "fragment.html"
    return "base.html" if request.user.is_authenticated else "base_public.html"


def roles_here(request: HttpRequest) -> RolesHeld:
    """Return the roles of who asks. One query a request, however often it is asked."""
    if ROLES not in vars(request):
        vars(request)[ROLES] = roles_of(cast("PersonRequest", request).user)
    return cast("RolesHeld", vars(request)[ROLES])


def require_admin_here(request: PersonRequest, act: str) -> None:
    """Raise RoleNeededError that names the administrators, unless who asks is one of them."""
    if not administers(roles_here(request)):
        require_admin(request.user, act)


def approvals_waiting(request: HttpRequest) -> int:
    """Return how many requests wait for who asks; for whom none can wait costs no query more."""
    if not isinstance(request.user, User) or not may_be_asked(roles_here(request)):
        return 0
    return waiting_count(request.user)


def nav_items(request: HttpRequest) -> list[NavItem]:
    """Return the navigation of the signed-in person, with this page's section marked."""
    if not isinstance(request.user, User):
        return []
    roles = roles_here(request)
    current = _section_of(request)
    return [
        NavItem(
            label=section.label,
            url=reverse(section.view),
            icon=section.icon,
            group=section.group,
            counts_waiting=section.counts_waiting,
            current=section is current,
        )
        for section in SECTIONS
        if section.shown_to(roles)
    ]


def _section_of(request: HttpRequest) -> Section | None:
    """Find the section with this very view, else the one that it is within, else the list of the same app."""
    match = request.resolver_match
    if match is None:
        return None
    by_view = {section.view: section for section in SECTIONS}
    within = WITHIN.get(match.view_name) or WITHIN.get(match.namespace) or f"{match.namespace}:list"
    return by_view.get(match.view_name) or by_view.get(within)
