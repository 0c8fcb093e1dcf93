"""Calls that end in every way, through a real LiteLLM, and what is charged beside what was billed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

import httpx
import pytest

from budgets.models import Reservation, ReservationState
from tests.gateways.litellm.conftest import Story, user
from tests.gateways.servers import eventually
from usage.models import UsageEvent

BOOKED = 7  # of a round's eight requests; the one that fails is released
HEADINGS = (
    f"{'run':>4} {'requests':>8} {'billed calls':>12} {'expected':>16} {'charged':>16} {'ratio':>6} holds"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of the mix came to."""

    number: int
    requests: int
    billed: int
    expected: Decimal
    charged: Decimal
    open_holds: int

    def __str__(self) -> str:
        ratio = self.charged / self.expected
        return (
            f"{self.number:>4} {self.requests:>8} {self.billed:>12} {self.expected:>16} {self.charged:>16}"
            f" {ratio:>6.3f} {self.open_holds:>5}"
        )


def run_mix(story: Story, number: int, *, rounds: int, clients: int) -> Run:
    """Send rounds of the mix, so many at once, and compare the books of the run with the provider's log."""
    billed, expected, charged = len(story.served()), story.expected(), story.charged()
    booked = UsageEvent.objects.count()
    tags = [f"{story.world.token[-8:]}x{number}x{place}" for place in range(rounds)]
    with ThreadPoolExecutor(clients) as pool:
        requests = sum(pool.map(lambda tag: one_of_each(story, tag), tags))
    eventually(lambda: UsageEvent.objects.count() >= booked + BOOKED * rounds, seconds=30, what="every event")
    return Run(
        number=number,
        requests=requests,
        charged=story.charged() - charged,
        expected=story.expected() - expected,
        billed=len(story.served()) - billed,
        open_holds=Reservation.objects.filter(state=ReservationState.OPEN).count(),
    )


def one_of_each(story: Story, tag: str) -> int:
    """Send a plain call, a stream, one that is retried, one that falls back, one twice for the cache, one
    that fails, and one whose client leaves; return how many requests that was.
    """
    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(leave, story, tag)
        assert story.chat(f"plain {tag}", max_tokens=9).status_code == 200
        with story.openai() as client:
            pieces = client.chat.completions.create(
                model="small", messages=[user(f"a stream {tag}")], stream=True
            )
            assert len(list(pieces)) > 3
        assert story.chat(f"FLAKY{tag} please").status_code == 200
        assert story.chat(f"serve me anyway {tag}", model="unlucky").status_code == 200
        for _ in range(2):
            assert story.chat(f"the very same words {tag}").status_code == 200
        assert story.chat(f"ERR400 no {tag}").status_code == 400
        leaving.result()
    return 8


def leave(story: Story, tag: str) -> None:
    """Hang up before the answer, which the gateway waits for all the same."""
    body = {"model": "small", "messages": [user(f"SLOW answer {tag}")]}
    headers = {"Authorization": f"Bearer {story.world.token}"}
    with pytest.raises(httpx.ReadTimeout):
        story.http.post("/v1/chat/completions", json=body, headers=headers, timeout=1.5)
