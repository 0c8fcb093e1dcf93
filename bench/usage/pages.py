"""How long pages take at the server when a million calls are booked, and how long booking these takes."""

import resource
import time
from collections.abc import Iterator

from django.core.management import call_command

from bench.pages import BAR, PEOPLE, slowest_milliseconds
from bench.results import Result
from bench.usage.sizes import Size
from teams.models import Project, Team

SEED_SECONDS = 120
MOST_MEGABYTES = 300
KILOBYTES = 1_024  # in a megabyte, and what Linux counts resident memory in


def measure(size: Size) -> Iterator[Result]:
    """Give seconds and memory of a history of ninety days, and the slowest page on it."""
    started = time.perf_counter()
    call_command("seed_demo", verbosity=0, password="not used by anybody here", events=size.rows)  # noqa: S106
    seconds = time.perf_counter() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KILOBYTES
    print(f"  {size.rows:,} calls in {seconds:.0f} s, {size.rows / seconds:,.0f} a second", flush=True)
    judged = size.judges_rows
    yield Result(name="seed_seconds", value=seconds, bar=SEED_SECONDS, at_least=False, judged=judged)
    yield Result(name="seed_megabytes", value=megabytes, bar=MOST_MEGABYTES, at_least=False, judged=judged)
    slowest = slowest_milliseconds(_pages(), people=PEOPLE)
    yield Result(name="slowest_page_ms", value=slowest, bar=BAR, at_least=False, judged=judged)


def _pages() -> tuple[str, ...]:
    """Return the pages that show what was spent, of the team and project that spent most among them."""
    team, project = Team.objects.get(code="search"), Project.objects.get(code="search-rank")
    return (
        "/",
        "/?view=daily",
        "/?p=last",
        f"/teams/{team.public_id}/",
        f"/projects/{project.public_id}/",
        "/teams/",
        "/models/",
        "/keys/",
        "/budgets/",
        "/blocked/",
        "/reconciliation/",
        "/quarantine/",
    )
