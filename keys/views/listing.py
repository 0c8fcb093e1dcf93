"""Which keys exist, whether they are used, and which are about to end."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from core import addresses
from core.shapes import Tab
from keys import selectors
from keys.ports import UseOfKeys
from keys.views.shapes import KeyRow, key_row
from teams.selectors import RolesHeld, roles_of
from teams.types import PersonRequest

PAGE_ROWS = 50
TABS = MINE, TEAM = "mine", "team"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyList:
    """One page of one view of the keys."""

    tabs: tuple[Tab, ...]
    rows: tuple[KeyRow, ...]
    older_url: str
    empty_title: str
    empty_text: str
    empty_url: str
    empty_action: str


@require_safe
def list_keys(request: PersonRequest, *, use_of: UseOfKeys) -> HttpResponse:
    """List the person's own keys, or with `?tab=team`, and where he has none, those that he oversees."""
    request.roles_held = roles_of(request.user)
    counts = selectors.counts(request.user)
    tab = addresses.choice(request, "tab", TABS, TEAM if counts.others and not counts.mine else MINE)
    page = _page_number(request.GET.get("page", ""))
    keys = selectors.listed(request.user)
    mine_only = keys.filter(owner=request.user) if tab == MINE else keys.exclude(owner=request.user)
    found = list(mine_only[PAGE_ROWS * page : PAGE_ROWS * (page + 1) + 1])
    shown = found[:PAGE_ROWS]
    use = use_of([key.pk for key in shown])
    rows = [key_row(key, user=request.user, roles=request.roles_held, use=use.get(key.pk)) for key in shown]
    older_url = f"?tab={tab}&page={page + 1}" if len(found) > PAGE_ROWS else ""
    listed = KeyList(
        tabs=_tabs(request, tab, counts), rows=tuple(rows), older_url=older_url, **_nothing(tab, page)
    )
    return render(request, "keys/list.html", {"keys": listed})


def _page_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _tabs(request: PersonRequest, tab: str, counts: selectors.KeyCounts) -> tuple[Tab, ...]:
    address = reverse("keys:list")
    mine = Tab(label="Mine", url=f"{address}?tab={MINE}", current=tab == MINE, count=counts.mine)
    if not counts.others and tab == MINE:
        return (mine,)
    label = _others(request.roles_held)
    return mine, Tab(label=label, url=f"{address}?tab={TEAM}", current=tab == TEAM, count=counts.others)


def _others(roles: RolesHeld) -> str:
    return "All others" if roles.sees_everything else "My teams"


def _nothing(tab: str, page: int) -> dict[str, str]:
    """Say why the list is empty and what to do."""
    if page:
        return {
            "empty_title": "No older keys",
            "empty_text": "You have come to the end of the list.",
            "empty_url": reverse("keys:list"),
            "empty_action": "Back to the newest",
        }
    if tab == TEAM:
        return {
            "empty_title": "No keys of others",
            "empty_text": "Keys of the people in your teams appear here when you lead or direct a team.",
            "empty_url": reverse("keys:list"),
            "empty_action": "See your own keys",
        }
    return {
        "empty_title": "No keys yet",
        "empty_text": "A Tier 1 key needs no approval, and calls the everyday models at once.",
        "empty_url": reverse("keys:create"),
        "empty_action": "Make a Tier 1 key",
    }
