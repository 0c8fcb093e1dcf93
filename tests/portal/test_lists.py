"""Every list: what its address says is what it shows, page after page, and what its CSV holds."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from html import unescape
from io import StringIO

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from core import clock
from core.money import format_usd
from tests import factories
from tests.approvals.conftest import ask_for
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.core.test_wishes import put
from tests.portal.test_audit_page import record
from tests.usage.books import book, refuse
from tests.usage.test_views import differ, run
from usage.models import DiscrepancyClass, DiscrepancyState, ImportCursor, RunState
from usage.selectors import organisation_today

NEXT = re.compile(r'href="([^"]+)">Next page<')
HEAD = re.compile(r'<th scope="col"[^>]*?(?: aria-sort="(\w+)")?><a href="([^"]+)">')
NAMES = ("Alpha", "alpha", "=SUM(1)", "Élan", "Zeta", "beta", "Beta", "gamma", "Gamma", "delta")
FEW = 4  # rows of a page here, so that a few of them fill several pages

Texts = Sequence[str]
Row = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A list: who reads it, its tables, what its address takes, and how the page writes a row of the CSV."""

    who: str
    path: str
    tables: tuple[str, ...]
    shown: Callable[[Row], str]
    sorts: Texts
    rows_a_page: tuple[str, ...] = ()
    filters: Mapping[str, Texts] = field(default_factory=dict)
    parameter: str = "sort"
    section: str = ""
    column: int = 0


LISTS = {
    "overview": Listing(
        who="ben", path="/", tables=("projects-h",), sorts=("name", "spent", "limit", "used", "forecast"),
        filters={"p": ("7d", "last")},
        shown=lambda row: f"{row['project']} {row['owner']} · {row['tier']}",
    ),
    "models": Listing(
        who="ada", path="/models/", tables=("tier-1", "tier-2", "tier-3"),
        sorts=("name", "input", "cached", "output", "against", "context"),
        shown=lambda row: f"{row['model']} {row['provider']}",
    ),
    "prices": Listing(
        who="fay", path="/prices/", tables=("prices-h",),
        filters={"tier": ("2", "3"), "provider": ("openai",)},
        sorts=("name", "tier", "input", "cached", "output", "others", "since"),
        shown=lambda row: f"{row['model']} {row['provider']}",
    ),
    "keys": Listing(
        who="ben", path="/keys/", tables=("Keys table",), rows_a_page=("keys.views.listing.PAGE_ROWS",),
        sorts=("name", "project", "made", "expires", "used", "spent"), filters={"tab": ("mine", "team")},
        shown=lambda row: f"{row['key']} {row['owner']} {row['masked']}",
    ),
    "people": Listing(
        who="ann", path="/people/", tables=("People table",), rows_a_page=("teams.views.people.PAGE_ROWS",),
        sorts=("name", "since"), filters={"tab": ("left",), "q": ("a", "nobody")},
        shown=lambda row: f"{row['name']} {row['email']}",
    ),
    "budgets": Listing(
        who="ann", path="/budgets/", tables=("group-1", "group-2", "group-3"),
        rows_a_page=("budgets.views.reading.PAGE_ROWS",),
        sorts=("name", "limit", "spent", "held", "left", "used", "resets"),
        filters={"scope": ("team", "project"), "window": ("month", "day")},
        shown=lambda row: f"{row['Budget']} {row['Window']}",
    ),
    "blocked": Listing(
        who="ben", path="/blocked/", tables=("calls-h",), rows_a_page=("usage.views.blocked.PAGE_ROWS",),
        sorts=("since", "project", "code", "calls", "last"),
        filters={"p": ("24h", "30d"), "code": ("rate_limited", "budget_exhausted")},
        shown=lambda row: f"{row['key']} {row['owner']}",
    ),
    "reconciliation": Listing(
        who="fay", path="/reconciliation/", tables=("open-h",), rows_a_page=("usage.views.pages.PAGE_ROWS",),
        sorts=("what", "class", "day", "amount", "owner", "since", "state"),
        filters={"state": ("all", "corrected"), "kind": ("token_mismatch",), "p": ("7d",)},
        shown=lambda row: row["what"],
    ),
    "audit": Listing(
        who="audrey", path="/audit/", tables=("events-h",), rows_a_page=("portal.audit.views.PAGE_ROWS",),
        sorts=("at",), filters={"action": ("team.", "key."), "actor": ("Ben", "nobody")}, column=1,
        shown=lambda row: f"{row['object']} {row['team']} team",
    ),
    "deliveries": Listing(
        who="ann", path="/deliveries/", tables=("deliveries-h",),
        rows_a_page=("portal.news.deliveries.PAGE_ROWS",), sorts=("made",),
        filters={"state": ("waiting", "given_up")},
        shown=lambda row: f"{row['message']} {row['channel']}, {row['topic']}",
    ),
    "sources": Listing(
        who="fay", path="/sources/", tables=("gateways-h", "providers-h"),
        sorts=("name", "state", "read", "upto", "rows", "next"),
        shown=lambda row: f"{row['source']} {row['kind']}",
    ),
    "reports": Listing(
        who="fay", path="/reports/", tables=("teams-h",), sorts=("team", "calls", "spent", "budget", "used"),
        shown=lambda row: f"{row['team']} {row['department']}",
    ),
    "people of a team": Listing(
        who="ben", path="/teams/{team}/", tables=("members-h",), parameter="people", section="People",
        sorts=("name", "role", "since", "spent", "keys"), shown=lambda row: row["name"],
    ),
    "projects of a team": Listing(
        who="ben", path="/teams/{team}/", tables=("projects-h",), parameter="projects", section="Projects",
        sorts=("name", "spent", "limit", "used"), shown=lambda row: row["name"],
    ),
    "months of a team": Listing(
        who="ben", path="/teams/{team}/", tables=("months-h",), parameter="months",
        section="Last 12 months", sorts=("month", "calls", "spent"), column=2,
        shown=lambda row: format_usd(Decimal(row["amount_usd"])),
    ),
    "keys of a project": Listing(
        who="ben", path="/projects/{project}/", tables=("keys-h",), section="By key",
        sorts=("name", "state", "tiers", "expires", "spent"), filters={"p": ("7d", "last")},
        shown=lambda row: row["name"],
    ),
}  # fmt: skip


@pytest.fixture
def full(cast: Cast) -> Cast:
    """An organisation in which every list has several pages, equal values and empty ones."""
    now, today = clock.now(), organisation_today()
    gateway = factories.GatewayFactory.create(name="edge").public_id
    days = [
        run(gateway, day=now.date() - timedelta(days=back), state=RunState.DIFFERENT) for back in (0, 1, 9)
    ]
    for number, name in enumerate(NAMES):
        project = factories.ProjectFactory.create(
            team=cast.search, name=name, code=f"list-{number}", owner=cast.ben
        )
        address = f"person{number}@example.com"
        owner = factories.UserFactory.create(name=name, email=address, is_active=number % 3 != 2)
        factories.MembershipFactory.create(user=owner, team=cast.search)
        key = factories.ApiKeyFactory.create(
            project=project, owner=(cast.ben, owner)[number % 2], name=name,
            expires_at=now + timedelta(days=number % 4 + 2),
        )  # fmt: skip
        of_ranking = factories.ApiKeyFactory.create(
            project=cast.ranking, owner=(cast.ben, cast.ada)[number % 2], name=name,
            expires_at=now + timedelta(days=number % 4 + 2),
        )  # fmt: skip
        if number % 3:
            book(cast.ranking, cast.large, today, f"{number % 4}.25", key=of_ranking)
            book(project, cast.large, today, f"{number % 4}.5", key=key, owner=owner)
            _limit(project.pk, cast, (None, "7", "100")[number % 3], (Window.MONTH, Window.DAY)[number % 2])
        for back in (0, 1, 3):
            code = ("rate_limited", "budget_exhausted")[number % 2]
            refuse(project, now - timedelta(days=back), code, number % 3 + 1, key=key)
        differ(
            days[number % 3], (DiscrepancyClass.TOKEN_MISMATCH, DiscrepancyClass.ZERO_COST)[number % 2],
            f"rsv_{number}", amount_usd=Decimal(number % 3), owner=(None, cast.fay)[number % 2],
            **({"state": DiscrepancyState.CORRECTED, "closed_at": now} if number % 4 == 3 else {}),
        )  # fmt: skip
        record(cast, action=("team.renamed", "key.renamed")[number % 2])
        put(cast.ada, key=name)
        ImportCursor.objects.create(source=f"gw_{name}", rows_read=number % 3)
    return cast


def _limit(project: int, cast: Cast, amount: str | None, window: Window) -> None:
    open_budget(
        actor=None, scope_kind=ScopeKind.PROJECT, scope_id=project, department=cast.product, window=window,
        mode=Mode.HARD, amount_usd=Decimal(amount) if amount else None, reason="A test.",
    )  # fmt: skip


def address_of(listing: Listing, cast: Cast) -> str:
    return listing.path.format(team=cast.search.public_id, project=cast.ranking.public_id)


def pages(visitor: Visitor, path: str, query: Mapping[str, str]) -> Iterator[Page]:
    """Give the pages of a list, as somebody reads them who goes on to the end."""
    page = visitor.get(path, **query)
    while True:
        assert page.status == 200
        yield page
        following = NEXT.search(page.response.content.decode())
        if following is None:
            return
        page = visitor.get(unescape(following[1]))


def exported(visitor: Visitor, path: str, query: Mapping[str, str]) -> list[dict[str, str]]:
    """Download the list as its page offers it."""
    page = visitor.get(path, **query)
    offered = [link for link in page.links if "format=csv" in link]
    if not offered:  # nothing is shown
        return []
    response = visitor.client.get(unescape(offered[0]))
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(StringIO(response.getvalue().decode())))


def plain(text: str) -> str:
    """Return a text without the quote that keeps it from being a formula, in single spaces."""
    return " ".join(text.replace("'=", "=").split())


def queries_of(listing: Listing) -> st.SearchStrategy[dict[str, str]]:
    """Draw what an address may say: filters, and an order or a word that is none."""
    ways = [f"{way}{name}" for name in listing.sorts for way in ("", "-")]
    drawn = {name: st.sampled_from(values) for name, values in listing.filters.items()}
    orders = {listing.parameter: st.sampled_from([*ways, "nonsense"])}
    return st.fixed_dictionaries({}, optional=orders | drawn)


USUAL = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", LISTS)
@USUAL
@given(data=st.data())
def test_pages_and_csv_show_the_same_rows_in_the_same_order(
    full: Cast, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    compare(full, monkeypatch, name, data)


@pytest.mark.full
@pytest.mark.parametrize("name", LISTS)
@settings(USUAL, max_examples=40)
@given(data=st.data())
def test_pages_and_csv_show_the_same_rows_at_many_addresses(
    full: Cast, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    compare(full, monkeypatch, name, data)


def compare(full: Cast, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject) -> None:
    """Ask for a list at an address that is drawn, and hold its pages against its CSV."""
    listing = LISTS[name]
    for setting in listing.rows_a_page:
        monkeypatch.setattr(setting, FEW)
    query, visitor = data.draw(queries_of(listing)), Visitor(getattr(full, listing.who))
    path = address_of(listing, full)

    shown = [
        row[listing.column]
        for page in pages(visitor, path, query)
        for table in listing.tables
        for row in page.rows(table)
    ]
    rows = exported(visitor, path, query)

    told = [plain(listing.shown(row)) for row in rows if row.get("section", "") == listing.section]
    assert [text[: len(each)] for text, each in zip(shown, told, strict=True)] == told


@pytest.mark.parametrize("name", LISTS)
def test_every_head_that_is_a_link_turns_the_order_around(full: Cast, name: str) -> None:
    listing = LISTS[name]
    visitor, path = Visitor(getattr(full, listing.who)), address_of(listing, full)
    html = visitor.get(path).response.content.decode()
    ours = {unescape(url) for _, url in HEAD.findall(html)}
    ours = {url for url in ours if f"{listing.parameter}=" in url or "?" not in url}
    assert len(ours) >= len(listing.sorts)

    for column in listing.sorts:
        ways = set()
        for asked in (column, f"-{column}"):
            again = visitor.get(path, **{listing.parameter: asked}).response.content.decode()
            ways |= {way for way, url in HEAD.findall(again) if way}
            assert " aria-sort=" in again
        assert ways >= {"ascending", "descending"}


@pytest.mark.parametrize("name", LISTS)
def test_an_order_asks_the_database_no_more(full: Cast, name: str) -> None:
    listing = LISTS[name]
    visitor, path = Visitor(getattr(full, listing.who)), address_of(listing, full)
    usual = len(visitor.queries(path))

    asked = {len(visitor.queries(path, **{listing.parameter: f"-{column}"})) for column in listing.sorts}

    assert asked == {usual}
    assert usual <= (12 if path == "/" else 10 if "{" in listing.path else 8)


def orders_of(visitor: Visitor, path: str, column: str, cell: str) -> tuple[list[str], list[str]]:
    """Return one column of the CSV in both orders, without empty cells."""
    up, down = (
        [row[cell] for row in exported(visitor, path, {"sort": way + column}) if row[cell]]
        for way in ("", "-")
    )
    return up, down


@pytest.mark.parametrize(
    ("name", "column", "cell"),
    [
        ("overview", "spent", "spent_usd"),
        ("keys", "spent", "month_usd"),
        ("blocked", "calls", "calls"),
        ("reconciliation", "amount", "amount_usd"),
        ("sources", "rows", "rows_read"),
    ],
)
def test_an_order_is_the_one_that_its_name_says(full: Cast, name: str, column: str, cell: str) -> None:
    listing = LISTS[name]

    up, down = orders_of(Visitor(getattr(full, listing.who)), listing.path, column, cell)

    amounts = [Decimal(each) for each in up]
    assert len(set(amounts)) > 1
    assert amounts == sorted(amounts)
    assert [Decimal(each) for each in down] == sorted(amounts, reverse=True)


def test_requests_are_listed_and_exported_alike(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("approvals.views.reading.SHOWN", FEW)
    for number, name in enumerate(NAMES):
        asker = factories.UserFactory.create(name=name, email=f"person{number}@example.com")
        factories.MembershipFactory.create(user=asker, team=cast.search)
        asked = ask_for(cast, actor=asker, expected_monthly_usd=Decimal(number % 3 + 1))
        if number % 2:
            type(asked).objects.filter(pk=asked.pk).update(status="withdrawn", decided_at=clock.now())
    visitor = Visitor(cast.ben)

    for tab in ("waiting", "team", "decided"):
        for sort in ("due", "-due", "usd", "-usd", "asked", "who", "-who", "-over", "nonsense"):
            query = {"tab": tab, "sort": sort}
            listed = [
                link.partition("?")[0].rstrip("/").rpartition("/")[2]
                for page in pages(visitor, "/approvals/", query)
                for link in page.links
                if "/approvals/req_" in link
            ]
            assert listed == [row["request_id"] for row in exported(visitor, "/approvals/", query)]
            assert len(listed) == len(NAMES) // 2
