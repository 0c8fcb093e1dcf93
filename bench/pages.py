"""How long the slowest page takes at the server, on the demo organisation, without network and browser."""

import statistics
import time
from collections.abc import Iterator

from django.core.management import call_command
from django.test import Client

from bench.environment import Services
from bench.results import Result
from bench.sizes import Size
from teams.models import User

ROUNDS = 7
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
    slowest = 0.0
    for email in PEOPLE:
        client = Client(SERVER_NAME="127.0.0.1")
        client.force_login(User.objects.get(email=email))
        for page in PAGES:
            taken = _median_milliseconds(client, page)
            if taken:
                print(f"  {email.split('@')[0]:4} {page:18} {taken:6.1f} ms", flush=True)
                slowest = max(slowest, taken)
    yield Result(name="slowest_page_ms", value=slowest, bar=150, at_least=False, judged=size.judged)


def _median_milliseconds(client: Client, page: str) -> float:
    status = client.get(page).status_code
    if status == 404:  # not a page of this person
        return 0.0
    if status != 200:
        raise RuntimeError(f"{page} answers {status}")
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        client.get(page)
        times.append((time.perf_counter() - start) * 1_000)
    return statistics.median(times)
