"""Trouble around the gateway: nothing is served unasked, and no finished call is lost or counted twice."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import httpx
import pytest

from budgets.models import Reservation, ReservationState
from core import clock
from gateway.adapters.litellm import LiteLlmJournal
from gateway.auth import credential_of, signed_headers
from tests.gateways.litellm.conftest import Story, litellm_server, user
from tests.gateways.servers import Server, eventually
from usage.models import UsageEvent
from usage.ports import SourceUnavailableError
from usage.services import pull_source

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
]


def test_a_portal_that_does_not_answer_means_503_and_no_call(story: Story) -> None:
    story.portal.freeze()
    try:
        answer = story.chat("hello")
    finally:
        story.portal.thaw()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "decision_unavailable"
    assert answer.elapsed.total_seconds() < 4
    assert story.asked() == []
    eventually(lambda: story.chat("hello again").status_code == 200)
    assert story.charged() == story.expected()
    refused = Reservation.objects.order_by("authorized_at")[0]
    assert (
        refused.state == ReservationState.RELEASED
    )  # the portal held for it when it went on; nobody had waited


def test_a_portal_that_is_down_gets_its_settlements_later_exactly_once(story: Story) -> None:
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(story.chat("SLOW question")))
    caller.start()
    eventually(lambda: len(story.asked()) == 1)
    story.portal.stop(signal.SIGKILL)
    try:
        caller.join()
        refused = story.chat("while it is down")
    finally:
        story.portal.start()
    assert answers[0].status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "decision_unavailable")
    assert story.charged() == story.expected() > 0
    assert UsageEvent.objects.count() == Reservation.objects.count() == 1


@pytest.mark.full
def test_a_gateway_that_dies_delivers_when_it_is_back(
    story: Story, live_portal: Server, fake_provider: Server, programs: Path, tmp_path: Path
) -> None:
    second = litellm_server(live_portal, fake_provider, programs, tmp_path)
    second.start()
    try:
        body = {"model": "small", "messages": [user("finished but not yet booked")]}
        headers = {"Authorization": f"Bearer {story.world.token}"}
        httpx.post(
            f"{second.url}/v1/chat/completions", json=body, headers=headers, timeout=60, trust_env=False
        )
        story.all_resolved()
        journal = tmp_path / "state" / "journal" / "00000001.jsonl"
        line = json.loads(journal.read_text().splitlines()[0])
        second.stop(signal.SIGKILL)
        # A call that finished, and was written down, just before the gateway died.
        reservation = authorised(story)
        with journal.open("a") as file:
            file.write(json.dumps(line | {"id": reservation, "reservation": reservation}) + "\n")
        second.start()
        story.all_resolved()
    finally:
        second.stop()
    assert UsageEvent.objects.count() == 2
    assert sum(UsageEvent.objects.values_list("cost_usd", flat=True)) == 2 * story.expected()


def authorised(story: Story) -> str:
    """Ask the portal for one call, as the gateway would."""
    path = "/gateway/v1/authorize"
    question = {"request_id": "the-call-that-was-written-down", "key": story.world.token, "model": "small"}
    body = json.dumps(
        {**question, "route": "/v1/chat/completions", "project_id": None, "input_bytes": 100}
    ).encode()
    headers = signed_headers(
        credential=credential_of(story.gateway),
        method="POST",
        target=path,
        body=body,
        now_seconds=clock.now().timestamp(),
    )
    answer = httpx.post(f"{story.portal.url}{path}", content=body, headers=headers, trust_env=False)
    reservation: str = answer.json()["reservation"]
    return reservation


def test_a_wrong_secret_is_never_blamed_on_the_client(story: Story) -> None:
    type(story.gateway).objects.filter(pk=story.gateway.pk).update(live_versions=[7])
    eventually(lambda: story.chat("hello").status_code == 503)
    assert story.chat("hello").json()["code"] == "decision_unavailable"
    type(story.gateway).objects.filter(pk=story.gateway.pk).update(live_versions=[1, 2])
    eventually(lambda: story.chat("hello").status_code == 200)


def test_the_portal_pulls_what_the_gateway_wrote_down(story: Story) -> None:
    for number in range(3):
        story.chat(f"call {number}")
    story.chat("ERR400 refused", model="small")
    story.all_resolved()
    journal = LiteLlmJournal(story.gateway)
    everything = journal.page("", limit=1_000)
    assert journal.page("", limit=1_000).rows == everything.rows
    mine = {row.public_id for row in Reservation.objects.all()}
    assert mine <= {row["id"] for row in everything.rows}
    counts = pull_source(source=journal)
    assert (counts.known, counts.released, counts.booked) == (3, 1, 0)
    assert pull_source(source=journal).read == 0


def test_a_feed_asked_in_small_pages_gives_every_line_once(story: Story) -> None:
    for number in range(3):
        story.chat(f"call {number}")
    story.all_resolved()
    journal = LiteLlmJournal(story.gateway)
    cursor, ids = "", []
    while True:
        page = journal.page(cursor, limit=2)
        ids += [row["id"] for row in page.rows]
        cursor = page.next_cursor
        if not page.has_more:
            break
    assert ids == [row["id"] for row in journal.page("", limit=1_000).rows]


def test_the_feed_is_closed_to_everybody_else(story: Story) -> None:
    assert story.http.get("/purser/v1/usage").status_code == 401
    master = {"Authorization": f"Bearer {story.proxy.environment['LITELLM_MASTER_KEY']}"}
    assert story.http.get("/purser/v1/usage", headers=master).status_code == 401
    story.gateway.live_versions = [9]
    with pytest.raises(SourceUnavailableError, match="gateway_signature_invalid"):
        LiteLlmJournal(story.gateway).page("", limit=10)


def test_no_key_is_ever_written_down_by_the_gateway(story: Story) -> None:
    story.chat("hello")
    story.chat("ERR500 hello")
    story.post("/v1/images/generations", {"model": "small", "prompt": "x"})
    story.post("/v1/messages", {"model": "nope", "messages": [user("x")], "max_tokens": 5})
    story.all_resolved()
    secret = story.world.token[9:-6]
    files = [path for path in story.state.parent.rglob("*") if path.is_file()]
    assert files
    assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []


@pytest.mark.full
def test_a_gateway_without_its_secret_refuses_to_start(
    live_portal: Server, fake_provider: Server, programs: Path, tmp_path: Path
) -> None:
    server = litellm_server(live_portal, fake_provider, programs, tmp_path)
    server.environment["PURSER_GATEWAY_SECRET"] = ""
    with pytest.raises(AssertionError, match="PURSER_GATEWAY_SECRET is empty"):
        server.start()
