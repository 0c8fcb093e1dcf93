"""The pages of quarantine: what waits, why, what the row says, and the two ways to close it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core import clock
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory, GatewayFactory
from tests.usage.books import set_aside
from usage.models import Quarantine, QuarantineOutcome, QuarantineReason, UsageEvent

TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


@pytest.fixture
def edge(cast: Cast) -> str:
    """Register a gateway and return the name of its source."""
    return str(GatewayFactory.create(name="litellm-eu").public_id)


def entered(cast: Cast, **changes: str) -> dict[str, str]:
    """Return what an administrator enters for a good call."""
    key = ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    values = {
        "external_id": "call-1",
        "at": (clock.now() - timedelta(hours=1)).isoformat(),
        "key": key.public_id,
        "model": "small",
        "finish": "stop",
        "reason": "The gateway's log names the key.",
        **dict.fromkeys(TOKENS, "0"),
        "input_tokens": "1000",
    }
    return {**values, **changes}


def close(entry: Quarantine, outcome: QuarantineOutcome, cast: Cast) -> None:
    entry.resolved_at, entry.resolved_by = clock.now(), cast.ann
    entry.outcome, entry.resolution = outcome, "It was a test."
    entry.save()


def test_the_list_shows_what_waits_and_counts_the_rest(cast: Cast, edge: str) -> None:
    set_aside(edge, "call-1")
    set_aside(edge, "call-2", QuarantineReason.UNPRICED, detail="The model had no price then.")
    set_aside("gw_gone", "call-3", QuarantineReason.UNKNOWN_KEY)
    close(set_aside(edge, "call-4"), QuarantineOutcome.DISMISSED, cast)

    page = Visitor(cast.fay).get("/quarantine/")

    assert [row[0] for row in page.rows("rows-h")] == ["call-3", "call-2", "call-1"]
    assert page.rows("rows-h")[1][1:4] == [
        "Model without a price at that time The model had no price then.",
        "small, 1,000 in, 100 out",
        "litellm-eu",
    ]
    assert "Open (3) Booked (0) Dismissed (1) All (4)" in page.words
    assert "Key that is not known (2)" in page.words
    assert "litellm-eu (2)" in page.words


def test_the_address_is_the_state_of_the_list(cast: Cast, edge: str) -> None:
    set_aside(edge, "call-1")
    set_aside(edge, "call-2", QuarantineReason.UNPRICED)
    set_aside("gw_gone", "call-3")
    close(set_aside(edge, "call-4"), QuarantineOutcome.BOOKED, cast)
    visitor = Visitor(cast.ann)

    def ids(**query: str) -> list[str]:
        return [row[0] for row in visitor.get("/quarantine/", **query).rows("rows-h")]

    assert ids(reason="unpriced") == ["call-2"]
    assert ids(source=edge, reason="unknown_key") == ["call-1"]
    assert ids(state="booked") == ["call-4"]
    assert ids(state="any", source=edge) == ["call-4", "call-2", "call-1"]
    assert ids(state="nonsense") == ["call-3", "call-2", "call-1"]
    assert "Other reasons or sources may have some." in visitor.get("/quarantine/", reason="malformed").words


def test_pages_follow_each_other(cast: Cast, edge: str) -> None:
    for number in range(120):
        set_aside(edge, f"call-{number:03}")
    visitor, seen, address = Visitor(cast.ann), [], "/quarantine/"

    while address:
        page = visitor.get(address)
        seen += [row[0] for row in page.rows("rows-h")]
        address = next((link for link in page.links if "before=" in link and link != address), "")

    assert seen == [f"call-{number:03}" for number in range(119, -1, -1)]


def test_nothing_in_quarantine_says_what_would_be(cast: Cast) -> None:
    page = Visitor(cast.ann).get("/quarantine/")

    assert "Every row is booked" in page.words


def test_a_row_is_shown_without_secrets(cast: Cast, edge: str) -> None:
    secret = "sk-" + "ab" * 20
    entry = set_aside(edge, "call-1", row={"headers": {"Authorization": secret}, "note": f"by {secret}"})

    page = Visitor(cast.audrey).get(f"/quarantine/{entry.public_id}/")

    assert sorted(page.rows("row-h")) == [["headers.Authorization", "(not shown)"], ["note", "by …"]]
    assert secret not in page.response.content.decode()
    assert "It waits for an administrator." in page.words


def test_an_administrator_books_a_row_with_what_it_lacked(cast: Cast, edge: str) -> None:
    entry, visitor = set_aside(edge), Visitor(cast.ann)
    address = f"/quarantine/{entry.public_id}/assign/"
    form = visitor.get(address)
    content = form.response.content.decode()
    assert 'value="2026-11-23T12:00:00Z"' in content
    assert 'value="1000"' in content
    assert '<option value="small" selected>' in content

    answer = visitor.post(address, **entered(cast))

    assert answer.status == 302
    assert UsageEvent.objects.get().external_id == "call-1"
    page = visitor.get("/quarantine/")
    assert "The call is booked, in the window of its own time." in page.words
    shown = visitor.get(f"/quarantine/{entry.public_id}/")
    assert "The gateway's log names the key." in shown.words
    assert "Ann Keller" in shown.words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "key_nobody"}, "No key has this public id."),
        ({"at": "yesterday"}, "Enter a moment with its offset"),
        ({"at": "2026-11-23T12:00:00"}, "Enter a moment with its offset"),
        ({"input_tokens": "-1"}, "greater than or equal to 0"),
        ({"cached_tokens": "2000"}, "cannot be more"),
        ({"model": "nobody"}, "Choose a model"),
        ({"reason": ""}, "Enter how you know"),
    ],
)
def test_a_mistake_keeps_what_was_entered(cast: Cast, edge: str, changes: dict[str, str], words: str) -> None:
    entry = set_aside(edge)

    answer = Visitor(cast.ann).post(
        f"/quarantine/{entry.public_id}/assign/", **entered(cast, external_id="call-77", **changes)
    )

    assert answer.status == 422
    assert words in answer.words
    assert "Error: Assign" in answer.words
    assert 'value="call-77"' in answer.response.content.decode()
    assert not UsageEvent.objects.exists()


def test_dismissing_asks_why_and_names_what_follows(cast: Cast, edge: str) -> None:
    entry, visitor = set_aside(edge), Visitor(cast.ann)
    address = f"/quarantine/{entry.public_id}/dismiss/"

    assert "Nothing is booked for it" in visitor.get(address).words
    assert visitor.post(address, reason="").status == 422
    assert visitor.post(address, reason="A test call of the gateway's operator.").status == 302

    entry.refresh_from_db()
    assert entry.outcome == QuarantineOutcome.DISMISSED
    assert visitor.get(address).status == 409
    assert visitor.get(f"/quarantine/{entry.public_id}/assign/").status == 409


def test_a_conflict_offers_no_assignment(cast: Cast, edge: str) -> None:
    entry = set_aside(edge, reason=QuarantineReason.CONFLICT)

    page = Visitor(cast.ann).get(f"/quarantine/{entry.public_id}/")

    assert "the first stand" in page.words
    assert f"/quarantine/{entry.public_id}/assign/" not in page.links


@pytest.mark.parametrize("path", ["qrn_nobody/", "nul%00/", "qrn_nobody/assign/", "qrn_nobody/dismiss/"])
def test_a_row_that_is_not_there(cast: Cast, path: str) -> None:
    assert Visitor(cast.ann).get(f"/quarantine/{path}").status == 404


def test_the_overview_tells_administrators_what_waits(cast: Cast, edge: str) -> None:
    assert "could not be booked" not in Visitor(cast.ann).get("/").words
    set_aside(edge)
    set_aside(edge, "call-2")

    assert "2 rows of gateways could not be booked" in Visitor(cast.ann).get("/").words
    assert "could not be booked" not in Visitor(cast.fay).get("/").words


def test_the_list_asks_as_often_for_fifty_as_for_five(cast: Cast, edge: str) -> None:
    def grow(number: int, start: int) -> None:
        for count in range(start, start + number):
            close(set_aside(edge, f"call-{count}"), QuarantineOutcome.DISMISSED, cast)

    query: dict[str, Any] = {"state": "any"}
    grow(5, 0)
    visitor = Visitor(cast.ann)
    few = len(visitor.queries("/quarantine/", **query))
    grow(45, 5)

    assert len(visitor.queries("/quarantine/", **query)) == few <= 8


SORTED_FIELD = '<input type="hidden" name="sort" value="read">'


def test_rows_are_read_from_the_oldest_on_too(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usage.views.quarantine.PAGE_ROWS", 2)
    for number in range(5):
        Quarantine.objects.create(
            source="gw", external_id=f"call-{number}", reason="malformed", detail="x", row={},
            row_hash=str(number),
        )  # fmt: skip
    visitor, read, link = Visitor(cast.fay), [], "/quarantine/?sort=read"
    while link:
        page = visitor.get(link)
        read += [row[0] for row in page.rows("rows-h")]
        assert SORTED_FIELD in page.response.content.decode()  # of the form, which would forget the order
        link = next((each for each in page.links if "before=" in each and each != link), "")
        assert "sort=read" in link or not link
    assert read == [f"call-{number}" for number in range(5)]
    assert SORTED_FIELD not in visitor.get("/quarantine/").response.content.decode()
