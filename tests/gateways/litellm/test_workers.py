"""Two workers of a real LiteLLM with leases: each is a node, and together they never overspend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from budgets.models import Balance, Lease, Reservation, ReservationState, ScopeKind
from portal import ledger
from tests.gateways.litellm.conftest import Story, litellm_server, story_of, user
from tests.gateways.litellm.mix import HEADINGS, run_mix
from tests.gateways.litellm.test_leased_calls import (
    all_returned,
    assert_pull_finds_nothing_new,
    end_of_journal,
    leased_calls,
    lending_portal,
)
from tests.gateways.servers import Server, eventually
from usage.models import ImportCursor

__all__ = ["lending_portal"]

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]

LIMIT = Decimal("0.03")
CALLS = 120  # at $0.0004 and a little, more than the limit pays for
CLIENTS = 8


@pytest.fixture(scope="module")
def two_workers(
    lending_portal: Server,
    fake_provider: Server,
    programs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Return LiteLLM with two workers that take small leases."""
    server = litellm_server(
        lending_portal,
        fake_provider,
        programs,
        tmp_path_factory.mktemp("litellm"),
        workers=2,
        PURSER_LEASES="1",
        PURSER_LEASE_WANT_USD="0.005",
    )
    server.start(seconds=120)
    started = "Application startup complete"
    eventually(lambda: server.output().count(started) >= 2, seconds=120, what="the second worker")
    yield server
    server.stop()


@pytest.fixture
def story(
    transactional_db: None,
    lending_portal: Server,
    fake_provider: Server,
    two_workers: Server,
) -> Iterator[Story]:
    """Return a fresh organisation behind both workers."""
    with story_of(lending_portal, fake_provider, two_workers) as told:
        ImportCursor.objects.create(source=told.gateway.public_id, position=end_of_journal(told))
        yield told


def nodes() -> int:
    """Return how many workers have held leases."""
    return Lease.objects.values("node").distinct().count()


@pytest.mark.full
def test_two_workers_with_leases_never_spend_more_than_there_is(story: Story) -> None:
    story.world.budget("key", kind=ScopeKind.KEY, limit=str(LIMIT))

    def call(number: int) -> int:
        body = {
            "model": "small",
            "max_tokens": 200,
            "messages": [user(f"WANT200 {number} {story.world.token}")],
        }
        # A new connection for each, so that either worker may get it.
        return story.post("/v1/chat/completions", body, Connection="close").status_code

    most = Decimal(0)
    with ThreadPoolExecutor(CLIENTS) as pool:
        calls = [pool.submit(call, number) for number in range(CALLS)]
        while not all(each.done() for each in calls):
            for balance in Balance.objects.all():
                most = max(most, balance.spent_usd + balance.reserved_usd)
    answers = [each.result() for each in calls]
    all_returned()
    charged, expected = story.charged(), story.expected()
    print(
        f"\n{answers.count(200)} of {CALLS} calls served, {leased_calls()} under leases of {nodes()} workers;"
        f" spent and held {most} of {LIMIT} at most; charged / expected = {charged / expected:.3f}"
    )
    assert set(answers) == {200, 429}, Counter(answers)
    assert most <= LIMIT
    assert charged == expected > LIMIT * Decimal("0.9")
    assert leased_calls() > 0
    assert nodes() == 2
    assert (Balance.objects.get().spent_usd, Balance.objects.get().reserved_usd) == (charged, 0)
    assert not Reservation.objects.filter(state=ReservationState.OPEN).exists()
    assert_pull_finds_nothing_new(story, released=0)
    assert ledger.verify().findings == ()


@pytest.mark.full
def test_the_mix_through_two_workers_with_leases_is_charged_what_was_billed_three_times_in_a_row(
    story: Story,
) -> None:
    story.world.budget("key", kind=ScopeKind.KEY, limit="100")
    print(f"\n{HEADINGS}")
    for number in (1, 2, 3):
        run = run_mix(story, number, rounds=10, clients=5)
        print(run)
        assert run.charged == run.expected > 0
        assert run.open_holds == 0
    all_returned()
    assert leased_calls() > 0
    assert Balance.objects.get().reserved_usd == 0
    assert ledger.verify().findings == ()
