"""A real LiteLLM that decides by itself under leases of the real portal: charged once and right, also while
the portal is away.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from django.db.models import QuerySet

from budgets.models import (
    Balance,
    Entry,
    EntryKind,
    Lease,
    Reservation,
    ReservationState,
    ScopeKind,
)
from core import clock
from gateway.adapters.litellm import LiteLlmJournal
from keys.models import ApiKey
from portal import ledger
from tests.gateways.litellm.conftest import Story, litellm_server, story_of
from tests.gateways.servers import Server, eventually, portal_server
from usage.models import ImportCursor, UsageEvent
from usage.services import expire_holds, pull_source, reclaim_leases

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]

LEASE_SECONDS = 5
LIMIT = Decimal(100)


@pytest.fixture(scope="module")
def lending_portal(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a portal whose leases are short."""
    log = tmp_path_factory.mktemp("portal") / "output.log"
    server = portal_server(log=log, LEASE_SECONDS=str(LEASE_SECONDS))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def leasing_proxy(
    lending_portal: Server, fake_provider: Server, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Return LiteLLM with leases switched on."""
    out = tmp_path_factory.mktemp("litellm")
    server = litellm_server(
        lending_portal, fake_provider, programs, out, PURSER_LEASES="1", PURSER_LEASE_WANT_USD="5"
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def story(
    transactional_db: None, lending_portal: Server, fake_provider: Server, leasing_proxy: Server
) -> Iterator[Story]:
    """Return a fresh organisation whose key has a budget and, from a few calls on, a lease."""
    with story_of(lending_portal, fake_provider, leasing_proxy) as told:
        ImportCursor.objects.create(source=told.gateway.public_id, position=end_of_journal(told))
        told.world.budget("key", kind=ScopeKind.KEY, limit=str(LIMIT))
        for number in range(3):
            told.chat(f"{told.world.token} asks the portal {number}")
        eventually(Lease.objects.exists, what="a lease")
        yield told


def end_of_journal(story: Story) -> str:
    """Return the cursor behind what earlier tests left in the gateway's journal."""
    journal, cursor, has_more = LiteLlmJournal(story.gateway), "", True
    while has_more:
        page = journal.page(cursor, limit=1_000)
        cursor, has_more = page.next_cursor, page.has_more
    return cursor


def all_returned() -> None:
    """Wait until no lease is open, which is when every call under one has been booked."""
    still_open = Lease.objects.filter(closed_at__isnull=True)
    eventually(lambda: not still_open.exists(), seconds=20, what="the return of every lease")


def leased_calls() -> int:
    """Return how many booked calls were decided under a lease."""
    return Reservation.objects.filter(lease__isnull=False).count()


def written_down(story: Story) -> int:
    """Return how many settled calls of this test's key the gateway's journal tells of."""
    files = (story.state / "journal").glob("*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines()]
    return sum('"kind":"settle"' in line and story.world.key.public_id in line for line in lines)


def assert_pull_finds_nothing_new(story: Story, *, released: int) -> None:
    """Read the gateway's journal: every line is known already."""
    counts = pull_source(source=LiteLlmJournal(story.gateway))
    assert (counts.booked, counts.quarantined, counts.released) == (0, 0, released)
    assert counts.known == UsageEvent.objects.count()


def test_calls_under_a_lease_are_charged_what_the_provider_billed(story: Story) -> None:
    with story.openai() as client:
        for number in range(5):
            story.chat(f"plain {number} {story.world.token}", max_tokens=9)
        stream = {"model": "small", "stream": True}
        messages = [{"role": "user", "content": f"a stream {story.world.token}"}]
        assert len(list(client.chat.completions.create(messages=messages, **stream))) > 3  # type: ignore[call-overload]
        client.responses.create(model="small", input="one two three four", max_output_tokens=7)
        client.completions.create(model="small", prompt="complete this", max_tokens=5)
    assert story.chat("FLAKYleased please").status_code == 200
    assert story.chat("ERR400 no").status_code == 400
    first, second = story.chat("the very same leased words"), story.chat("the very same leased words")
    assert first.json()["id"] == second.json()["id"]
    all_returned()
    charged, expected = story.charged(), story.expected()
    print(f"charged / expected = {charged / expected:.3f}, {leased_calls()} calls under a lease")
    assert charged == expected > 0
    assert leased_calls() >= 10
    assert (Balance.objects.get().spent_usd, Balance.objects.get().reserved_usd) == (charged, 0)
    assert_pull_finds_nothing_new(story, released=1)


def test_a_revoked_key_is_refused_soon_whatever_its_lease_holds(story: Story) -> None:
    assert story.chat(f"before {story.world.token}").status_code == 200
    ApiKey.objects.update(revoked_at=clock.now(), revoked_reason="leaked")
    revoked_at, served = time.monotonic(), 0
    while (answer := story.chat(f"after {served} {story.world.token}")).status_code == 200:
        served += 1
        assert time.monotonic() < revoked_at + 10
    seconds = time.monotonic() - revoked_at
    print(f"a revoked key was refused after {seconds:.2f} s and {served} more calls")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
    assert seconds < 3
    all_returned()
    assert story.charged() == story.expected()
    assert Balance.objects.get().reserved_usd == 0


def test_without_the_portal_calls_go_on_until_the_lease_ends(story: Story) -> None:
    story.portal.stop(signal.SIGKILL)
    stopped_at, served = time.monotonic(), 0
    try:
        while (answer := story.chat(f"alone {served} {story.world.token}")).status_code == 200:
            served += 1
            assert time.monotonic() < stopped_at + 2 * LEASE_SECONDS
        seconds = time.monotonic() - stopped_at
    finally:
        story.portal.start()
    print(f"{served} calls were served for {seconds:.2f} s without the portal")
    assert (answer.status_code, answer.json()["code"]) == (503, "decision_unavailable")
    assert served >= 3
    assert 0.5 < seconds < LEASE_SECONDS
    all_returned()
    assert story.charged() == story.expected()
    assert UsageEvent.objects.count() == len(story.served()) == served + 3
    assert leased_calls() == served
    assert Balance.objects.get().reserved_usd == 0
    assert_pull_finds_nothing_new(story, released=0)


def test_a_gateway_that_is_stopped_gives_its_lease_back_at_once(story: Story) -> None:
    story.chat(f"one more {story.world.token}")
    story.proxy.stop()
    try:
        lease = Lease.objects.get()
        assert lease.recalled_at is None
        assert clock.now() < lease.reclaim_at
        assert lease.held_usd < Decimal("0.1")  # all but what calls need whose settlement is on its way
    finally:
        story.proxy.start()
    eventually(lambda: UsageEvent.objects.count() == len(story.served()), what="every settlement")
    assert story.charged() == story.expected()


def test_a_call_that_was_in_flight_when_its_gateway_was_killed_is_charged_its_input_bound(
    story: Story,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(story.chat, f"SLOW and never heard of again {story.world.token}", max_tokens=50)
        eventually(lambda: any("never heard" in entry["text"] for entry in story.asked()), what="the call")
        story.proxy.stop(signal.SIGKILL)
        assert isinstance(lost.exception(), httpx.HTTPError)
    story.proxy.start()
    finished = len(story.served()) - 1
    eventually(lambda: UsageEvent.objects.count() == finished, what="the settlement of the others")
    counts = pull_source(source=LiteLlmJournal(story.gateway))
    assert (counts.booked, counts.quarantined) == (0, 0)
    held = Reservation.objects.get(state=ReservationState.OPEN)
    ago = clock.now() - timedelta(hours=1)
    Reservation.objects.filter(pk=held.pk).update(authorized_at=ago, expires_at=ago + timedelta(seconds=9))
    ends = {"expires_at": ago + timedelta(seconds=5), "reclaim_at": ago + timedelta(seconds=9)}
    Lease.objects.update(opened_at=ago, **ends)
    assert (expire_holds(), reclaim_leases()) == (1, 1)
    entry = Entry.objects.get(reservation=held)
    assert (entry.kind, entry.amount_usd) == (EntryKind.UNSETTLED, held.input_floor_usd)
    assert entry.amount_usd > 0
    assert Balance.objects.get().reserved_usd == 0
    assert ledger.verify().findings == ()


def a_call_that_is_told_of(
    story: Story, pool: ThreadPoolExecutor, told: QuerySet[Reservation]
) -> Future[httpx.Response]:
    """Start a slow call under the lease, and return it when the portal was told of it.

    Until the gateway has its lease in hand, calls are the portal's: those are waited for.
    """
    for number in range(3):
        call = pool.submit(story.chat, f"SLOW {number} on a lost host {story.world.token}", max_tokens=50)
        said = f"SLOW {number} on a lost host"
        eventually(lambda said=said: any(said in entry["text"] for entry in story.asked()), what="the call")  # type: ignore[misc]
        try:
            eventually(told.exists, seconds=4, what="the hold of the call that was told of")
        except AssertionError:
            call.result()
        else:
            return call
    raise AssertionError("no call was decided under the lease")


def test_a_call_in_flight_of_a_host_that_is_lost_with_its_journal_is_charged_its_input_bound(
    story: Story, tmp_path: Path
) -> None:
    told = Reservation.objects.filter(state=ReservationState.OPEN, lease__isnull=False)
    with ThreadPoolExecutor(1) as pool:
        lost = a_call_that_is_told_of(story, pool, told)
        story.proxy.stop(signal.SIGKILL)
        assert isinstance(lost.exception(), httpx.HTTPError)
    (story.state / "journal").rename(tmp_path / "journal")  # the disk is gone too
    try:
        held = told.get()
        ago = clock.now() - timedelta(hours=1)
        Reservation.objects.filter(pk=held.pk).update(
            authorized_at=ago, expires_at=ago + timedelta(seconds=9)
        )
        ends = {"expires_at": ago + timedelta(seconds=5), "reclaim_at": ago + timedelta(seconds=9)}
        Lease.objects.update(opened_at=ago, **ends)
        assert (expire_holds(), reclaim_leases()) == (1, 1)
        entry = Entry.objects.get(reservation=held)
        assert (entry.kind, entry.amount_usd) == (EntryKind.UNSETTLED, held.input_floor_usd)
        assert entry.amount_usd > 0
        assert Balance.objects.get().reserved_usd == 0
        assert ledger.verify().findings == ()
    finally:
        (tmp_path / "journal").rename(story.state / "journal")  # for the tests that come after
        story.proxy.start()


@pytest.mark.full
def test_a_killed_gateways_calls_are_booked_when_it_is_back_and_its_lease_is_reclaimed(story: Story) -> None:
    for number in range(5):
        story.chat(f"the last words {number} {story.world.token}")
    eventually(lambda: written_down(story) == len(story.served()), what="the last line of the journal")
    story.proxy.stop(signal.SIGKILL)
    assert Lease.objects.get().held_usd > 4
    story.proxy.start()
    eventually(lambda: UsageEvent.objects.count() == len(story.served()), what="every settlement")
    assert story.charged() == story.expected()
    ago = clock.now() - timedelta(hours=1)
    ends = {"expires_at": ago + timedelta(seconds=5), "reclaim_at": ago + timedelta(seconds=9)}
    Lease.objects.update(opened_at=ago, **ends)
    assert reclaim_leases() == 1
    assert Balance.objects.get().reserved_usd == 0
