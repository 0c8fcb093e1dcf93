"""Which keys exist, whether they are used, and which are about to end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Lower
from django.http import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from core import addresses, clock
from core.money import ZERO
from core.shapes import Column, Tab
from core.sorting import Head, SqlColumn, Table
from core.spreadsheets import Cell, csv_stream, in_batches, iso
from keys import selectors
from keys.models import ApiKey
from keys.ports import ColumnsOfUse, UseOfKeys
from keys.views.shapes import KeyRow, key_row
from teams.selectors import RolesHeld, roles_of
from teams.types import PersonRequest

PAGE_ROWS = 50
TABS = MINE, TEAM = "mine", "team"
KEPT = ("tab", "sort")
TABLE = Table(
    usual="-made",
    heads=(
        Head(label="Key", sort="name"),
        Head(label="State"),
        Head(label="Project", sort="project"),
        Head(label="Tiers"),
        Head(label="Made", sort="made", falls=True),
        Head(label="Expires", sort="expires"),
        Head(label="Last used", sort="used", falls=True),
        Head(label="This month", sort="spent", numeric=True),
        Head(label="Actions", quiet=True),
    ),
)
COLUMNS: Mapping[str, SqlColumn] = {
    "name": Lower("name"),
    "project": Lower("project__name"),
    "made": "created_at",
    "expires": "expires_at",
}
CSV_HEAD = (
    *("key", "key_id", "owner", "masked", "state", "project", "project_id", "tiers", "made_at"),
    *("expires_at", "last_used_on", "month_usd"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyList:
    """One page of one view of the keys."""

    tabs: tuple[Tab, ...]
    columns: tuple[Column, ...]
    rows: tuple[KeyRow, ...]
    csv_url: str
    previous_url: str
    next_url: str
    empty_title: str
    empty_text: str
    empty_url: str
    empty_action: str


@require_safe
def list_keys(request: PersonRequest, *, use_of: UseOfKeys, columns_of_use: ColumnsOfUse) -> HttpResponseBase:
    """List the person's own keys, or with `?tab=team`, and where he has none, those that he oversees; by
    `?sort=`, as CSV with `?format=csv`.
    """
    request.roles_held = roles_of(request.user)
    counts = selectors.counts(request.user)
    tab = addresses.choice(request, "tab", TABS, TEAM if counts.others and not counts.mine else MINE)
    keys = _keys(request, tab, columns_of_use)
    if request.GET.get("format") == "csv":
        every = in_batches(keys, lambda found: _rows(request, found, use_of))
        return csv_stream(request, f"keys-{clock.now():%Y-%m-%d}", CSV_HEAD, map(_cells, every))
    page = addresses.page_number(request)
    found = list(keys[PAGE_ROWS * page : PAGE_ROWS * (page + 1) + 1])
    previous_url, next_url = addresses.pages(request, KEPT, has_more=len(found) > PAGE_ROWS)
    listed = KeyList(
        tabs=_tabs(request, tab, counts),
        columns=TABLE.columns(request, KEPT),
        rows=tuple(_rows(request, found[:PAGE_ROWS], use_of)),
        csv_url=addresses.link(request, KEPT, format="csv"),
        previous_url=previous_url,
        next_url=next_url,
        **_nothing(tab, page),
    )
    return render(request, "keys/list.html", {"keys": listed})


def _keys(request: PersonRequest, tab: str, columns_of_use: ColumnsOfUse) -> QuerySet[ApiKey]:
    """Return the keys of a tab in the order that the address asks for."""
    keys, used = selectors.listed(request.user), columns_of_use()
    chosen = keys.filter(owner=request.user) if tab == MINE else keys.exclude(owner=request.user)
    columns = {**COLUMNS, "used": used["last_day"], "spent": Coalesce(used["month_usd"], ZERO)}
    return chosen.order_by(*TABLE.order(request).sql(columns, "-pk"))


def _rows(request: PersonRequest, keys: Sequence[ApiKey], use_of: UseOfKeys) -> list[KeyRow]:
    use = use_of([key.pk for key in keys])
    return [key_row(key, user=request.user, roles=request.roles_held, use=use.get(key.pk)) for key in keys]


def _cells(row: KeyRow) -> tuple[Cell, ...]:
    return (
        row.name,
        row.public_id,
        row.owner,
        row.masked,
        row.state.text,
        row.project,
        row.project_id,
        ", ".join(f"{tier.name}{f' until {iso(tier.until)}' if tier.until else ''}" for tier in row.tiers),
        iso(row.made_at),
        iso(row.expires_at),
        row.last_used_on.isoformat() if row.last_used_on else None,
        row.spent_usd,
    )


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
            "empty_title": "No further keys",
            "empty_text": "You have come to the end of the list.",
            "empty_url": reverse("keys:list"),
            "empty_action": "Back to the first",
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
