"""How long the slowest page takes at the server, on the demo organisation, without network and browser."""

import statistics
import time
from collections.abc import Iterator, Sequence

from django.core.management import call_command
from django.test import Client

from bench.environment import Services
from bench.results import Result
from bench.sizes import Size
from teams.models import User
from tests.signing import open_session

ROUNDS = 7
BAR = 150
PAGES = (
    "/",
    "/?view=daily",
    "/models/",
    "/approvals/",
    "/approvals/ask/",
    "/keys/",
    "/budgets/",
    "/blocked/",
    "/reports/",
    "/reconciliation/",
    "/status/",
)
PEOPLE = ("ben@northwind.example", "fay@northwind.example")


def measure(running: Services, size: Size) -> Iterator[Result]:
    """Give the median milliseconds of the slowest page."""
    call_command("seed_demo", verbosity=0, password="not used by anybody here")  # noqa: S106
    slowest = slowest_milliseconds(PAGES, people=PEOPLE)
    yield Result(name="slowest_page_ms", value=slowest, bar=BAR, at_least=False, judged=size.judged)


def slowest_milliseconds(pages: Sequence[str], *, people: Sequence[str]) -> float:
    """Print how long each page takes each person and return the longest; pages of others are left out."""
    slowest = 0.0
    for email in people:
        client = Client(SERVER_NAME="127.0.0.1")
        open_session(client, User.objects.get(email=email))
        for page in pages:
            taken = _median_milliseconds(client, page)
            if taken:
                print(f"  {email.split('@')[0]:4} {page:34} {taken:6.1f} ms", flush=True)
                slowest = max(slowest, taken)
    return slowest


def _median_milliseconds(client: Client, page: str) -> float:
    status = client.get(page).status_code
    if status in {403, 404}:  # not a page of this person
        return 0.0
    if status != 200:
        raise RuntimeError(f"{page} answers {status}")
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        client.get(page)
        times.append((time.perf_counter() - start) * 1_000)
    return statistics.median(times)
